// A position's stretches that several blocks computed, folded by the last of them.
#pragma once

#include "../ptx/bulk.cuh"
#include "attention.cuh"

// What a block leaves of a stretch in its slot: columns of NQ queries, then their largest scores,
// then their sums. `THREADS` threads call its functions, the first of the block, and at least one a
// column.
template <int NQ, int THREADS>
struct Gather {
    static constexpr int BATCH = 64;

    struct Room {
        float2 factors[BATCH][NQ];
        float sums[BATCH][NQ];
    };

    static __device__ int slot_of(const Piece& piece, int stretch) {
        return piece.slot + stretch - piece.folded;
    }

    // Whether all other blocks of the position have left theirs.
    static __device__ bool last_to_arrive(const Attention& p, const Piece& piece, int head) {
        __shared__ bool last;
        __threadfence();
        meet<1, THREADS>();
        if (threadIdx.x == 0) {
            int* arrivals = p.arrivals + piece.slot * p.shape.heads + head;
            last = atomicAdd(arrivals, 1) == piece.pieces - 1;
            if (last) {
                *arrivals = 0;
            }
        }
        meet<1, THREADS>();
        __threadfence();
        return last;
    }

    // `heads` of the queries are there; the first of them is `first_head`.
    static __device__ void fold(const Attention& p, const Piece& piece, int head, int first_head,
                                int heads, Room& room) {
        constexpr int AHEAD = 128 / NQ;
        const int column = threadIdx.x, dim = p.shape.dim;
        const size_t next = p.partial_of(1, 0) - p.partial_of(0, 0);
        const int last = slot_of(piece, piece.position / STRETCH) + 1;
        const int seen = p.first(piece.position) / STRETCH;
        float total[NQ] = {}, most = -INFINITY, sum = 0.0f;
        for (int slot = max(piece.slot, slot_of(piece, seen)); slot < last; slot += BATCH) {
            const int count = min(BATCH, last - slot);
            const float* from = p.partial_of(slot, head);
            find_factors(from + dim * NQ, next, count, most, sum, room);
            if (column < dim) {
#pragma unroll(AHEAD)
                for (int i = 0; i < count; ++i) {
                    add(from + i * next + column * NQ, room.factors[i], total);
                }
            }
            meet<1, THREADS>();
        }
        if (column < NQ) {
            room.sums[0][column] = 1.0f / sum;
        }
        meet<1, THREADS>();
        bf16* out = p.out + (static_cast<size_t>(piece.token) * p.queries + first_head) * dim;
#pragma unroll
        for (int row = 0; row < NQ; ++row) {
            if (row < heads && column < dim) {
                out[row * dim + column] = __float2bfloat16_rn(total[row] * room.sums[0][row]);
            }
        }
    }

    // What counts how much, and the sums: the largest score so far is a chain, the powers are not.
    static __device__ void find_factors(const float* mosts, size_t next, int count, float& most,
                                        float& sum, Room& room) {
        for (int i = threadIdx.x; i < count * NQ; i += THREADS) {
            const float* from = mosts + i / NQ * next + i % NQ;
            room.factors[i / NQ][i % NQ].y = __ldcg(from);
            room.sums[i / NQ][i % NQ] = __ldcg(from + NQ);
        }
        meet<1, THREADS>();
        if (threadIdx.x < NQ) {
            for (int i = 0; i < count; ++i) {
                float2& factor = room.factors[i][threadIdx.x];
                factor.x = most;
                most = fmaxf(most, factor.y);
            }
        }
        meet<1, THREADS>();
        for (int i = threadIdx.x; i < count * NQ; i += THREADS) {
            float2& factor = room.factors[i / NQ][i % NQ];
            const Fold fold(factor.x, factor.y);
            factor = make_float2(fold.before, fold.after);
        }
        meet<1, THREADS>();
        if (threadIdx.x < NQ) {
            for (int i = 0; i < count; ++i) {
                const float2 by = room.factors[i][threadIdx.x];
                sum = __fmaf_rn(room.sums[i][threadIdx.x], by.y, __fmul_rn(sum, by.x));
            }
        }
    }

    static __device__ __forceinline__ void add(const float* from, const float2 (&factors)[NQ],
                                               float (&total)[NQ]) {
#pragma unroll
        for (int i = 0; i < NQ; i += 4) {
            const float4 its = __ldcg(reinterpret_cast<const float4*>(from + i));
            const float four[4] = {its.x, its.y, its.z, its.w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const float2 by = factors[i + j];
                total[i + j] = __fmaf_rn(four[j], by.y, __fmul_rn(total[i + j], by.x));
            }
        }
    }
};
