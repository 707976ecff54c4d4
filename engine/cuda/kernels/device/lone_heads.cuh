// The heads of a lone position: how queries get to the warps that need them, and the new key and value
// to the cache.
#pragma once

#include "lone.cuh"

template <int DIM, int NQ>
struct LoneHeads : LoneShape<DIM, NQ> {
    using Shape = LoneShape<DIM, NQ>;
    using typename Shape::Room;
    using typename Shape::Work;
    using typename Shape::Queries;
    using Shape::QT;
    using Shape::THREADS;
    using Shape::WARPS;
    // Heads of a warp, with the new key and value.
    static constexpr int EACH = (NQ + 2 + WARPS - 1) / WARPS;
    using Some = float[EACH][DIM / 32];

    // Norms, turns and rounds the queries, a warp each, and the new key and value with them.
    static __device__ void bring(const LoneStep& p, const Work& work, Room& room,
                                         Queries& queries) {
        const Attention& a = p.attention;
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (int i = work.heads * DIM + threadIdx.x; i < NQ * DIM; i += THREADS) {
            room.queries[i / DIM][i % DIM] = __half();
        }
        if (p.turns) {
            prepare(p.rope, work, room);
        }
        wait_for_previous();
        const int all = work.heads + (work.fresh ? 2 : 0);
        const float* qkv = a.qkv + work.piece.token * a.width();
        Some x;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int which = warp + i * WARPS, other = which - work.heads;
            const int head = other < 0 ? work.first_head + which
                                       : a.queries + other * a.shape.heads + work.head;
#pragma unroll
            for (int j = 0; j < DIM / 32; ++j) {
                x[i][j] = which < all ? qkv[head * DIM + lane + 32 * j] : 0.0f;
            }
        }
        if (p.turns && p.rope.query) {
            norm(p.rope, work, room, x);
        }
        turn(p, work, room, x);
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int which = warp + i * WARPS;
            if (which >= all) continue;
            const bool is_query = which < work.heads;
            __half* to = is_query ? room.queries[which] : room.fresh[which - work.heads];
            const float scale = is_query ? a.scale : 1.0f;
#pragma unroll
            for (int j = 0; j < DIM / 32; ++j) {
                const int col = lane + 32 * j;
                to[col] = __float2half_rn(room.heads[which][col] * scale);
            }
        }
        meet<1, THREADS>();
#pragma unroll
        for (int i = 0; i < QT * (DIM / 16) * 2; ++i) {
            const int tile = i / (DIM / 16 * 2), step = i / 2 % (DIM / 16);
            queries[tile][step][i % 2] = *reinterpret_cast<const uint32_t*>(
                &room.queries[tile * 8 + lane / 4][step * 16 + i % 2 * 8 + lane % 4 * 2]);
        }
    }

    // What can be known before the projections are there.
    static __device__ void prepare(const Rope& rope, const Work& work, Room& room) {
        for (int pair = threadIdx.x; pair < rope.pairs; pair += THREADS) {
            room.turns[pair] = turn_of(rope, work.piece.position, pair);
        }
        for (int i = threadIdx.x; rope.query && i < DIM; i += THREADS) {
            room.weights[0][i] = rope.query[i];
            room.weights[1][i] = rope.key[i];
        }
        meet<1, THREADS>();
    }

    // As `norm_head` does it, a warp's heads together; values stay as they are.
    static __device__ __forceinline__ void norm(const Rope& rope, const Work& work, const Room& room,
                                                Some& x) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int which = warp + i * WARPS;
            float squares = 0.0f;
#pragma unroll
            for (int j = 0; j < DIM / 32; ++j) {
                squares = fmaf(x[i][j], x[i][j], squares);
            }
            const float scale = rsqrtf(warp_sum(squares) / DIM + rope.eps);
            const bool is_value = which == work.heads + 1;
#pragma unroll
            for (int j = 0; j < DIM / 32; ++j) {
                const float weight = room.weights[which >= work.heads][lane + 32 * j];
                x[i][j] = is_value ? x[i][j] : x[i][j] * scale * weight;
            }
        }
    }

    // By way of shared memory, since a pair's elements are anywhere.
    static __device__ __forceinline__ void turn(const LoneStep& p, const Work& work, Room& room,
                                                const Some& x) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
#pragma unroll
            for (int j = 0; j < DIM / 32; ++j) {
                if (warp + i * WARPS < NQ + 2) {
                    room.heads[warp + i * WARPS][lane + 32 * j] = x[i][j];
                }
            }
        }
        __syncwarp();
        // All but values.
        const int turned = work.heads + (work.fresh ? 1 : 0);
#pragma unroll 1
        for (int pair = lane; p.turns && pair < p.rope.pairs; pair += 32) {
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                if (warp + i * WARPS < turned) {
                    turn_pair(room.heads[warp + i * WARPS], p.rope, pair, room.turns[pair]);
                }
            }
        }
        __syncwarp();
    }

    // The new key and value go to their slot, a warp each.
    static __device__ void keep(const LoneStep& p, const Work& work, const Room& room) {
        const int lane = threadIdx.x % 32, value = threadIdx.x / 32;
        if (!work.fresh || p.attention.head_tile > 0 || value > 1 || lane >= DIM / 8) return;
        const CacheShape& shape = p.rope.shape;
        __half* to = p.rope.cache + shape.piece(work.slot / shape.block_size, work.head, value) +
                     shape.place(work.slot % shape.block_size, lane * 8);
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(room.fresh[value] + lane * 8);
    }
};
