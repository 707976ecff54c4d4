// The queries of a span on their way to products of four warps together.
#pragma once

#include "../ptx/wgmma_f16.cuh"
#include "attention.cuh"
#include "rope.cuh"

struct SpanStep {
    Attention attention;
    Rope rope;
    int turns;  // whether queries are still to be normed and turned: halves of whole heads
};

// Sixteen queries of a warp, normed and turned if they still are to be, and swizzled, for powers of
// two. All of them are asked for before anything is done with one.
template <int DIM>
struct SpanQueries {
    static constexpr int COUNT = 16;
    static constexpr int ROWS = 64;         // of the four warps
    static constexpr int EACH = DIM / 32;   // elements of a lane, 32 apart
    static constexpr int PAIRS = DIM / 64;  // likewise; a pair is 32 PAIRS apart
    using Elements = float[EACH];

    // Of each warp: the turns of its positions.
    struct Room {
        float2 turns[COUNT][DIM / 2];
    };

    // Where a query is: its position among the span's, and its head among those that share a key's.
    struct Place {
        int position, head, sharing;

        __device__ Place(int query, int sharing)
            : position(query / sharing), head(query % sharing), sharing(sharing) {}
        __device__ void next() {
            if (++head == sharing) {
                head = 0, ++position;
            }
        }
    };

    // Of the `all` of a span for a head of keys, those from `first` on become rows from `row` on.
    static __device__ void bring(const SpanStep& step, const Span& span, int key_head, int all,
                                 int first, Room& room, uint8_t* to, int row) {
        const Attention& p = step.attention;
        const int lane = threadIdx.x % 32, sharing = p.sharing();
        const bool normed = step.turns && step.rope.query;
        Elements x[COUNT], weights;
#pragma unroll
        for (int j = 0; j < EACH; ++j) {
            weights[j] = normed ? step.rope.query[lane + 32 * j] : 0.0f;
        }
        Place place(first, sharing);
        const int first_position = place.position;
#pragma unroll
        for (int i = 0; i < COUNT; ++i, place.next()) {
            const float* from = p.qkv + (span.first + place.position) * p.width() +
                                (key_head * sharing + place.head) * DIM + lane;
#pragma unroll
            for (int j = 0; j < EACH; ++j) {
                x[i][j] = first + i < all ? __ldcg(from + 32 * j) : 0.0f;
            }
        }
        if (step.turns) {
            Place last(first + COUNT - 1, sharing);
            find_turns(step.rope, span.start + first_position, last.position - first_position + 1,
                       room);
            if (normed) {
                norm(step.rope.eps, weights, x);
            }
            turn(first, sharing, room, x);
        }
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            store(to, row + i, p.scale, x[i]);
        }
    }

    static __device__ __forceinline__ void find_turns(const Rope& rope, int first, int count,
                                                      Room& room) {
#pragma unroll 1
        for (int i = 0; i < count; ++i) {
#pragma unroll
            for (int j = 0; j < PAIRS; ++j) {
                const int pair = threadIdx.x % 32 + 32 * j;
                room.turns[i][pair] = turn_of(rope, first + i, pair);
            }
        }
        __syncwarp();
    }

    // As `norm_head` does it.
    static __device__ __forceinline__ void norm(float eps, const Elements& weights,
                                                Elements (&x)[COUNT]) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            float squares = 0.0f;
#pragma unroll
            for (int j = 0; j < EACH; ++j) {
                squares = fmaf(x[i][j], x[i][j], squares);
            }
            const float scale = rsqrtf(warp_sum(squares) / DIM + eps);
#pragma unroll
            for (int j = 0; j < EACH; ++j) {
                x[i][j] = x[i][j] * scale * weights[j];
            }
        }
    }

    // As `turn_pair` does it.
    static __device__ __forceinline__ void turn(int first, int sharing, const Room& room,
                                                Elements (&x)[COUNT]) {
        Place place(first, sharing);
        const int first_position = place.position;
#pragma unroll
        for (int i = 0; i < COUNT; ++i, place.next()) {
            const float2* turns = room.turns[place.position - first_position] + threadIdx.x % 32;
#pragma unroll
            for (int j = 0; j < PAIRS; ++j) {
                const float2 by = turns[32 * j];
                const float a = x[i][j], b = x[i][j + PAIRS];
                x[i][j] = fmaf(a, by.y, -b * by.x);
                x[i][j + PAIRS] = fmaf(b, by.y, a * by.x);
            }
        }
    }

    static __device__ __forceinline__ void store(uint8_t* queries, int row, float scale,
                                                 const Elements& x) {
#pragma unroll
        for (int j = 0; j < EACH; ++j) {
            const int col = threadIdx.x % 32 + 32 * j;
            uint8_t* to =
                queries + col / 64 * (ROWS * 128) + row * 128 + (col % 64 / 8 ^ row % 8) * 16;
            *reinterpret_cast<__half*>(to + col % 8 * 2) = __float2half_rn(x[j] * scale);
        }
    }
};
