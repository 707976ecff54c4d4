// A stretch of a lone position: scores, probabilities, and the sums of values.
#pragma once

#include "lone.cuh"

template <int DIM, int NQ>
struct LoneStretch : LoneShape<DIM, NQ> {
    using Shape = LoneShape<DIM, NQ>;
    using typename Shape::Room;
    using typename Shape::Columns;
    using typename Shape::Queries;
    using typename Shape::Scores;
    using typename Shape::Stretch;
    using typename Shape::Sums;
    using Shape::CHUNKS;
    using Shape::CT;
    using Shape::HALF;
    using Shape::QT;
    using Shape::STAGE;
    using Shape::THREADS;
    using Shape::WARPS;
    using Shape::part_of;
    using Shape::release;

    // The new key, or value, takes its place; `parts` of it from `first` on.
    static __device__ __forceinline__ void place_fresh(const __half* fresh, uint8_t* stage, int row,
                                                       int first, int parts) {
        const int lane = threadIdx.x % 32;
        if (lane < parts) {
            *reinterpret_cast<uint4*>(part_of(stage, row, first + lane)) =
                *reinterpret_cast<const uint4*>(fresh + (first + lane) * 8);
        }
        __syncwarp();
    }

    static __device__ __forceinline__ void score(const Stretch& stretch, bool newest,
                                                 const Queries& queries, uint8_t* ring, Room& room,
                                                 int stages, Turn& turn, Scores& scores) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const int row = warp * 16 + lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
#pragma unroll
            for (int i = 0; i < 2 * QT * 4; ++i) {
                scores[chunk * 2 + i / (QT * 4)][i / 4 % QT][i % 4] = 0.0f;
            }
            if (stretch.has_chunk(chunk)) {
                // Where one half is not there, the other is taken twice.
                uint8_t* halves[2];
                const bool both = stretch.has_half(chunk * 2) && stretch.has_half(chunk * 2 + 1);
                Turn second = turn;
                if (both) {
                    second.next(stages);
                }
                halves[0] = ring + turn.stage * STAGE, halves[1] = ring + second.stage * STAGE;
                room.full[turn.stage].wait(turn.parity);
                room.full[second.stage].wait(second.parity);
                const int last = (stretch.count - 1) % HALF;
                if (newest && (stretch.count - 1) / CHUNK == chunk && last / 16 == warp) {
                    place_fresh(room.fresh[0], halves[1], last, 0, DIM / 8);
                }
#pragma unroll
                for (int step = 0; step < DIM / 16; ++step) {
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        uint32_t keys[4];
                        load_tiles(keys, part_of(halves[half], row, step * 2 + lane / 16));
#pragma unroll
                        for (int tile = 0; tile < QT; ++tile) {
                            mma_f16(scores[chunk * 2 + half][tile], keys, queries[tile][step][0],
                                    queries[tile][step][1]);
                        }
                    }
                }
                release(room.empty[turn.stage]);
                if (both) {
                    release(room.empty[second.stage]);
                    turn = second;
                }
                turn.next(stages);
            }
#pragma unroll
            for (int i = 0; i < 2 * QT * 4; ++i) {
                const int half = chunk * 2 + i / (QT * 4);
                const int at = half * HALF + warp * 16 + lane / 4 + i % 4 / 2 * 8;
                float& score = scores[half][i / 4 % QT][i % 4];
                score = at >= stretch.first && at < stretch.count ? score : -INFINITY;
            }
        }
    }

    // Scores become probabilities in shared memory, relative to the largest so far.
    static __device__ __forceinline__ void weigh(const Stretch& stretch, Room& room, Scores& scores,
                                                 Columns& columns) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < CHUNKS * QT * 2; ++i) {
            const int chunk = i / (QT * 2), tile = i / 2 % QT, odd = i % 2;
            if (!stretch.has_chunk(chunk)) continue;
            float most = -INFINITY;
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                most = fmaxf(most, scores[chunk * 2 + j / 2][tile][j % 2 * 2 + odd]);
            }
#pragma unroll
            for (int other = 4; other < 32; other *= 2) {
                most = fmaxf(most, __shfl_xor_sync(~0u, most, other));
            }
            if (lane < 4) {
                room.largest[chunk][warp][tile * 8 + lane * 2 + odd] = most;
            }
        }
        meet<1, THREADS>();
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            if (!stretch.has_chunk(chunk)) continue;
#pragma unroll
            for (int tile = 0; tile < QT; ++tile) {
                const int query = tile * 8 + lane % 4 * 2;
                float some[2];
#pragma unroll
                for (int odd = 0; odd < 2; ++odd) {
                    float most = room.largest[chunk][0][query + odd];
#pragma unroll
                    for (int other = 1; other < WARPS; ++other) {
                        most = fmaxf(most, room.largest[chunk][other][query + odd]);
                    }
                    const float factor = raised(columns.most[tile][odd], most);
                    if (warp == 0 && lane < 4) {
                        room.factors[chunk][query + odd] = factor;
                    }
                    most = finite(columns.most[tile][odd]);
                    some[odd] = 0.0f;
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        float& score = scores[chunk * 2 + i / 2][tile][i % 2 * 2 + odd];
                        score = exp2_fast(score - most);
                        some[odd] = i == 0 ? score : some[odd] + score;
                    }
                }
                *reinterpret_cast<float2*>(&room.sums[chunk][warp][lane / 4][query]) =
                    make_float2(some[0], some[1]);
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float(&from)[4] = scores[chunk * 2 + i / 2][tile];
                    const uint32_t both = transposed(halves(from[i % 2 * 2], from[i % 2 * 2 + 1]));
                    const int at = (chunk * 2 + i / 2) * HALF + warp * 16 + i % 2 * 8;
                    *reinterpret_cast<uint32_t*>(
                        &room.shares[tile * 8 + lane / 4][at + lane % 4 * 2]) = both;
                }
            }
        }
        meet<1, THREADS>();
    }

    // The sums of probabilities, in the order that spans have: of positions with the same place among
    // eight, then of those. A warp does all, a query and two such places a lane.
    static __device__ __forceinline__ void sum_up(const Stretch& stretch, const Room& room,
                                                  Columns& columns) {
        const int lane = threadIdx.x % 32, query = lane % 8;
#pragma unroll
        for (int tile = 0; tile < QT; ++tile) {
            float sum[2] = {};
#pragma unroll
            for (int chunk = 0; chunk < CHUNKS; ++chunk) {
                if (!stretch.has_chunk(chunk)) continue;
                const float factor = room.factors[chunk][tile * 8 + query];
#pragma unroll
                for (int i = 0; i < 2; ++i) {
#pragma unroll
                    for (int warp = 0; warp < WARPS; ++warp) {
                        const float some =
                            room.sums[chunk][warp][lane / 8 * 2 + i][tile * 8 + query];
                        sum[i] = warp == 0 ? __fmaf_rn(sum[i], factor, some) : sum[i] + some;
                    }
                }
            }
            float all = sum[0] + sum[1];
            all += __shfl_xor_sync(~0u, all, 8);
            all += __shfl_xor_sync(~0u, all, 16);
            columns.sum[tile][0] = __shfl_sync(~0u, all, lane % 4 * 2);
            columns.sum[tile][1] = __shfl_sync(~0u, all, lane % 4 * 2 + 1);
        }
    }

    static __device__ __forceinline__ void add_values(const Stretch& stretch, bool newest,
                                                      uint8_t* ring, Room& room, int stages,
                                                      Turn& turn, Sums& sums) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < CT * QT * 4; ++i) {
            sums[i / (QT * 4)][i / 4 % QT][i % 4] = 0.0f;
        }
#pragma unroll 1
        for (int half = stretch.first / HALF; stretch.has_half(half); ++half) {
            // Of a chunk's second half alone, nothing was summed before.
            if (half % 2 == 0) {
#pragma unroll
                for (int tile = 0; tile < QT; ++tile) {
                    const float2 factors = *reinterpret_cast<const float2*>(
                        &room.factors[half / 2][tile * 8 + lane % 4 * 2]);
#pragma unroll
                    for (int i = 0; i < CT * 2; ++i) {
                        sums[i / 2][tile][i % 2 * 2] *= factors.x;
                        sums[i / 2][tile][i % 2 * 2 + 1] *= factors.y;
                    }
                }
            }
            uint8_t* stage = ring + turn.stage * STAGE;
            room.full[turn.stage].wait(turn.parity);
            if (newest && stretch.ends_in(half)) {
                place_fresh(room.fresh[1], stage, (stretch.count - 1) % HALF, warp * (DIM / 32),
                            DIM / 32);
            }
            const int at = half * HALF;
            if (at >= stretch.first && at + HALF <= stretch.count) {
#pragma unroll
                for (int steps = 0; steps < HALF / 16; steps += 2) {
                    add_steps<true>(stretch, half, steps, stage, room, sums);
                }
            } else {
#pragma unroll 1
                for (int steps = 0; steps < HALF / 16; steps += 2) {
                    add_steps<false>(stretch, half, steps, stage, room, sums);
                }
            }
            release(room.empty[turn.stage]);
            turn.next(stages);
        }
    }

    // The values of twice sixteen positions, all of which are seen if `WHOLE`.
    template <bool WHOLE>
    static __device__ __forceinline__ void add_steps(const Stretch& stretch, int half, int steps,
                                                     uint8_t* stage, const Room& room, Sums& sums) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        uint32_t shares[QT][4];
#pragma unroll
        for (int tile = 0; tile < QT; ++tile) {
            load_tiles(shares[tile], &room.shares[tile * 8 + lane % 8]
                                                 [half * HALF + steps * 16 + lane / 8 * 8]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int at = half * HALF + (steps + i) * 16;
            if (!WHOLE && (at >= stretch.count || at + 16 <= stretch.first)) continue;
            const int row = (steps + i) * 16 + lane / 16 * 8 + lane % 8;
#pragma unroll
            for (int column = 0; column < CT; ++column) {
                uint32_t values[4];
                load_tiles_transposed(
                    values,
                    part_of(stage, row, warp * (DIM / 32) + column * 2 + lane / 8 % 2));
                if (!WHOLE) {
                    mask(stretch, at, values);
                }
#pragma unroll
                for (int tile = 0; tile < QT; ++tile) {
                    mma_f16(sums[column][tile], values, shares[tile][2 * i], shares[tile][2 * i + 1]);
                }
            }
        }
    }

    // Values of positions that are not seen may be anything, which nothing may be multiplied with.
    static __device__ __forceinline__ void mask(const Stretch& stretch, int at,
                                                uint32_t (&values)[4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int low = at + i * 8 + threadIdx.x % 4 * 2;
            uint32_t kept = 0;
            kept |= low >= stretch.first && low < stretch.count ? 0xffffu : 0;
            kept |= low + 1 >= stretch.first && low + 1 < stretch.count ? 0xffff0000u : 0;
            values[2 * i] &= kept;
            values[2 * i + 1] &= kept;
        }
    }
};
