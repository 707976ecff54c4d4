// The queries of a span on their way to products of four warps together.
#pragma once

#include "../ptx/wgmma_f16.cuh"
#include "attention.cuh"
#include "rope.cuh"

struct SpanStep {
    Attention attention;
    Rope rope;
    int turns;  // whether queries are still to be turned
};

// Sixteen queries of a warp, normed and turned if they still are to be, and swizzled, for powers of
// two.
template <int DIM>
struct SpanQueries {
    static constexpr int TOGETHER = 4;  // heads that a warp turns at a time
    static constexpr int ROWS = 64;     // of the four warps

    // Of each warp.
    struct Room {
        float heads[TOGETHER][DIM];
        float2 turns[PAIRS_MAX];
    };

    // Of the `all` of a span for a head of keys, those from `first` on become rows from `row` on. Some
    // are brought together, all of one position.
    static __device__ void bring(const SpanStep& step, const Span& span, int key_head, int all,
                                 int first, Room& room, uint8_t* to, int to_row) {
        const Attention& p = step.attention;
        const int lane = threadIdx.x % 32, sharing = p.sharing();
        float weights[DIM / 32];
#pragma unroll
        for (int i = 0; i < DIM / 32; ++i) {
            weights[i] = step.turns && step.rope.query ? step.rope.query[lane + 32 * i] : 0.0f;
        }
        int turned = -1;
#pragma unroll 1
        for (int row = 0, count; row < 16; row += count) {
            const int query = first + row, head = query % sharing;
            const int there = min(min(sharing - head, all - query), 16 - row);
            count = min(TOGETHER, there > 0 ? there : 16 - row);
            const int position = span.start + query / sharing;
            if (there > 0 && step.turns && position != turned) {
                for (int pair = lane; pair < step.rope.pairs; pair += 32) {
                    room.turns[pair] = turn_of(step.rope, position, pair);
                }
                turned = position;
            }
            const float* from = p.qkv + (span.first + query / sharing) * p.width() +
                                (key_head * sharing + head) * DIM;
            float x[TOGETHER][DIM / 32];
#pragma unroll
            for (int i = 0; i < TOGETHER * (DIM / 32); ++i) {
                const int which = i / (DIM / 32), col = lane + i % (DIM / 32) * 32;
                x[which][i % (DIM / 32)] =
                    which < count && there > 0 ? from[which * DIM + col] : 0.0f;
            }
            if (step.turns && step.rope.query) {
                norm(step.rope, weights, x);
            }
            turn(step, x, room);
#pragma unroll
            for (int which = 0; which < TOGETHER; ++which) {
                if (which < count && lane < DIM / 4) {
                    place(to, to_row + row + which, lane * 4, room.heads[which] + lane * 4, p.scale);
                }
            }
            __syncwarp();
        }
    }

    // As `norm_head` does it, several together.
    static __device__ __forceinline__ void norm(const Rope& rope, const float (&weights)[DIM / 32],
                                                float (&x)[TOGETHER][DIM / 32]) {
#pragma unroll
        for (int which = 0; which < TOGETHER; ++which) {
            float squares = 0.0f;
#pragma unroll
            for (int i = 0; i < DIM / 32; ++i) {
                squares = fmaf(x[which][i], x[which][i], squares);
            }
            const float scale = rsqrtf(warp_sum(squares) / DIM + rope.eps);
#pragma unroll
            for (int i = 0; i < DIM / 32; ++i) {
                x[which][i] = x[which][i] * scale * weights[i];
            }
        }
    }

    // By way of shared memory, since a pair's elements are anywhere.
    static __device__ __forceinline__ void turn(const SpanStep& step,
                                                const float (&x)[TOGETHER][DIM / 32], Room& room) {
#pragma unroll
        for (int i = 0; i < TOGETHER * (DIM / 32); ++i) {
            const int which = i / (DIM / 32), part = i % (DIM / 32);
            room.heads[which][threadIdx.x % 32 + part * 32] = x[which][part];
        }
        __syncwarp();
        if (step.turns) {
#pragma unroll
            for (int which = 0; which < TOGETHER; ++which) {
                turn_head(room.heads[which], step.rope, room.turns);
            }
        }
    }

    // Four elements of a query.
    static __device__ __forceinline__ void place(uint8_t* queries, int row, int col,
                                                       const float* x, float scale) {
        const float4 four = *reinterpret_cast<const float4*>(x);
        uint8_t* to = queries + col / 64 * (ROWS * 128) + row * 128 + (col % 64 / 8 ^ row % 8) * 16;
        *reinterpret_cast<uint2*>(to + col % 8 * 2) =
            make_uint2(halves(four.x * scale, four.y * scale), halves(four.z * scale, four.w * scale));
    }
};
