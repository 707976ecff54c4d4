// Products of a few rows with the weight of their expert, where bytes of weights are few: all rows of
// a tile lie in shared memory, and each warp computes strips of sixteen outputs from the first input
// to the last. Nobody waits for anybody once the rows are there, and weights go from device memory
// to the registers of the one warp that turns them into numbers.
#pragma once

#include "skinny.cuh"

// At most 8 NT rows. TILES strips that belong together, such as a gate's and those that it lets
// through, are computed at a time, with AHEAD units of each under way.
template <class Format, int TILES, int NT, int AHEAD>
struct Strips {
    static constexpr int WARPS = 8;
    using Unit = typename Format::Unit;
    using Sums = float[TILES][NT][4];

    const Job& job;
    int units;
    const uint8_t* weights[TILES];
    // Strips that the warp computes, one after the other.
    int begin, end;
    Unit ahead[AHEAD][TILES];

    // Each warp has so many of the strips before `strips`; those that belong together are `apart`.
    __device__ Strips(const Job& job, int strips, int each, int apart)
        : job(job), units(job.units()),
          begin(min(strips, static_cast<int>(blockIdx.x * WARPS + threadIdx.x / 32) * each)),
          end(min(strips, begin + each)) {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            weights[tile] =
                job.weight + static_cast<size_t>(begin + tile * apart) * units * Format::BYTES;
        }
    }

    // Asks for the first units.
    __device__ __forceinline__ void start() {
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            fetch(0, i, ahead[i]);
        }
    }

    // Of the nth strip of the warp.
    __device__ __forceinline__ void fetch(int nth, int unit, Unit (&to)[TILES]) const {
        if (begin + nth < end && unit < units) {
            const size_t at = (static_cast<size_t>(nth) * units + unit) * Format::BYTES;
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                to[tile] = Format::template load<false>(weights[tile] + at, threadIdx.x % 32);
            }
        }
    }

    // Brings the rows, by all warps.
    __device__ __forceinline__ Rows bring(uint8_t* room) const {
        const Rows rows(room, units);
        for (int row = threadIdx.x / 32; row < job.count; row += WARPS) {
            rows.bring_row(row, job, row, 0, units);
        }
        copies_commit();
        copies_wait<0>();
        __syncthreads();
        return rows;
    }

    // Calls `store` with each strip of the warp and what it comes to.
    template <class Store>
    __device__ __forceinline__ void multiply(const Rows& rows, Store store) {
        const bf16* inputs[NT];
        lanes(rows, job.count, inputs);
        for (int nth = 0; begin + nth < end; ++nth) {
            Sums total = {}, sum = {};
            int left = job.slice;
            for (int first = 0; first < units; first += AHEAD) {
                const bool more = first + AHEAD < units;
                const int next = more ? first + AHEAD : 0;
#pragma unroll
                for (int i = 0; i < AHEAD; ++i) {
                    if (first + i < units) {
                        add(ahead[i], inputs, (first + i) * UNIT_INPUTS, sum);
                        if (--left == 0 || first + i + 1 == units) {
                            left = job.slice;
                            add_to(total, sum);
                        }
                    }
                    fetch(nth + !more, next + i, ahead[i]);
                }
            }
            store(begin + nth, total);
        }
    }

    // Where a lane reads operands from. Rows that are not there are the last one that is: what comes
    // of them is not stored.
    static __device__ __forceinline__ void lanes(const Rows& rows, int count,
                                                 const bf16* (&inputs)[NT]) {
#pragma unroll
        for (int n = 0; n < NT; ++n) {
            const int row = min(n * 8 + static_cast<int>(threadIdx.x % 8), count - 1);
            inputs[n] = rows.room + row * rows.stride + threadIdx.x % 32 / 8 * 8;
        }
    }

    static __device__ __forceinline__ void add(const Unit (&unit)[TILES], const bf16* (&inputs)[NT],
                                               int at, Sums& sum) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint32_t b[NT][4];
#pragma unroll
            for (int n = 0; n < NT; ++n) {
                load_tiles(b[n], inputs[n] + at + half * 32);
            }
#pragma unroll
            for (int step = 0; step < 2; ++step) {
#pragma unroll
                for (int tile = 0; tile < TILES; ++tile) {
                    uint32_t a[4];
                    Format::operand(unit[tile], half * 2 + step, a);
#pragma unroll
                    for (int n = 0; n < NT; ++n) {
                        mma_bf16(sum[tile][n], a, b[n][step * 2], b[n][step * 2 + 1]);
                    }
                }
            }
        }
    }

    static __device__ __forceinline__ void add_to(Sums& total, Sums& sum) {
#pragma unroll
        for (int i = 0; i < TILES * NT * 4; ++i) {
            total[i / (NT * 4)][i / 4 % NT][i % 4] += sum[i / (NT * 4)][i / 4 % NT][i % 4];
            sum[i / (NT * 4)][i / 4 % NT][i % 4] = 0.0f;
        }
    }
};
