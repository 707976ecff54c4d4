// Products for rows that share the loads of a weight, where there is nothing to bring them through a
// ring: not for Hopper.
#pragma once

#include "../ptx/copy.cuh"
#include "../ptx/mma.cuh"
#include "../ptx/order.cuh"
#include "job.cuh"

// Sums of slices that several blocks computed, and how many of them have.
struct Shared {
    float* sums;     // [tiles of the grid][slices][values of a block]
    int* arrivals;   // [tiles of the grid], zero between launches
};

// For at most 8 NT rows that share the loads of a weight. A block of WARPS warps computes sixteen
// outputs each; units come through a ring of stages in shared memory. Where there are few tiles,
// slices are shared out to several blocks along z, of which the last to arrive adds them up.
template <class Format, int NT, int WARPS>
struct Tiled {
    static constexpr int THREADS = 32 * WARPS;
    static constexpr int STAGES = NT >= 16 ? 5 : 4;
    // Stages being filled: not the one that is read.
    static constexpr int AHEAD = STAGES - 1;
    static constexpr int ROWS = 8 * NT;
    // Rows of 128 bytes, whose sixteen-byte pieces are swizzled: piece i of row r is at i ^ r % 8.
    static constexpr int STRIDE = UNIT_INPUTS;
    static constexpr int ROW_BYTES = ROWS * STRIDE * 2;
    static constexpr int STAGE_BYTES = (ROW_BYTES + WARPS * Format::BYTES + 1023) / 1024 * 1024;
    static constexpr int VALUES = THREADS * NT * 4;
    using Sums = float[NT][4];

    // Where a thread copies from: its warp's outputs, and one piece each of some rows. Rows that are
    // not there are copies of another: what comes of them is not stored.
    struct Source {
        static constexpr int EACH = THREADS / 8, COPIES = ROWS / EACH;
        const uint8_t* weight;
        const bf16* rows[COPIES];
        int col, inputs;

        __device__ Source(const Job& job, int tile) : col(threadIdx.x % 8 * 8), inputs(job.inputs) {
            const int tiles = (job.outputs + UNIT_OUTPUTS - 1) / UNIT_OUTPUTS;
            const size_t mine = min(tile + static_cast<int>(threadIdx.x) / 32, tiles - 1);
            weight = job.weight + mine * job.units() * Format::BYTES + threadIdx.x % 32 * 16;
        }
        // Not before the rows are there.
        __device__ void find_rows(const Job& job) {
#pragma unroll
            for (int i = 0; i < COPIES; ++i) {
                int row = threadIdx.x / 8 + i * EACH;
                rows[i] = job.row(min(row, job.count - 1)) + col;
            }
        }
        __device__ void fetch_weight(int unit, uint8_t* stage) const {
            const uint8_t* from = weight + static_cast<size_t>(unit) * Format::BYTES;
            stage += ROW_BYTES + threadIdx.x / 32 * Format::BYTES + threadIdx.x % 32 * 16;
#pragma unroll
            for (int at = 0; at < Format::BYTES; at += 512) {
                if (at + 512 <= Format::BYTES || threadIdx.x % 32 * 16 + at < Format::BYTES) {
                    copy_16(stage + at, from + at, true);
                }
            }
        }
        __device__ void fetch_rows(int unit, uint8_t* stage) const {
            // Beyond the last input, weights are zero, but rows must still be numbers.
            const int at = unit * UNIT_INPUTS;
            const bool valid = at + col < inputs;
            const int row = threadIdx.x / 8;
            stage += row * STRIDE * 2 + (threadIdx.x ^ row) % 8 * 16;
#pragma unroll
            for (int i = 0; i < COPIES; ++i) {
                copy_16(stage + i * EACH * STRIDE * 2, rows[i] + (valid ? at : -col), valid);
            }
        }
    };

    static __device__ void run(const Job& job, int tile, uint8_t* room, const Shared& shared,
                               bool early) {
        const int units = job.units(), slices = (units + job.slice - 1) / job.slice;
        const int each = (slices + gridDim.z - 1) / gridDim.z;
        const int first_slice = blockIdx.z * each;
        const int begin = min(units, first_slice * job.slice);
        const int end = min(units, (first_slice + each) * job.slice);
        Source source(job, tile);
        for (int stage = 0; early && stage < AHEAD && begin + stage < end; ++stage) {
            source.fetch_weight(begin + stage, room + stage * STAGE_BYTES);
        }
        if (early) {
            wait_for_previous();
        }
        source.find_rows(job);
        for (int stage = 0; stage < AHEAD; ++stage) {
            if (begin + stage < end) {
                if (!early) {
                    source.fetch_weight(begin + stage, room + stage * STAGE_BYTES);
                }
                source.fetch_rows(begin + stage, room + stage * STAGE_BYTES);
            }
            copies_commit();
        }
        const bool alone = gridDim.z == 1;
        const size_t grid_tile = static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x;
        float* mine = alone ? nullptr : shared.sums + (grid_tile * slices + first_slice) * VALUES;
        Sums total = {}, sum = {};
        int left = job.slice;
        int filled = AHEAD, used = 0;  // stages
        for (int unit = begin; unit < end; ++unit) {
            copies_wait<AHEAD - 1>();
            __syncthreads();
            if (unit + AHEAD < end) {
                source.fetch_weight(unit + AHEAD, room + filled * STAGE_BYTES);
                source.fetch_rows(unit + AHEAD, room + filled * STAGE_BYTES);
            }
            copies_commit();
            add_unit(room + used * STAGE_BYTES, sum);
            filled = filled + 1 == STAGES ? 0 : filled + 1;
            used = used + 1 == STAGES ? 0 : used + 1;
            if (--left == 0 || unit + 1 == end) {
                left = job.slice;
                if (alone) {
                    add(total, sum);
                } else {
                    leave(mine, sum);
                    mine += VALUES;
                }
            }
        }
        if (alone || last_to_arrive(shared.arrivals + grid_tile)) {
            if (!alone) {
                gather(shared.sums + grid_tile * slices * VALUES, slices, total);
            }
            store(job, tile, total);
        }
    }

    static __device__ __forceinline__ void add_unit(const uint8_t* stage, Sums& sum) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        auto unit =
            Format::template load<true>(stage + ROW_BYTES + warp * Format::BYTES, lane);
        const bf16* rows = reinterpret_cast<const bf16*>(stage) + lane % 8 * STRIDE;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint32_t a[2][4];
            Format::operand(unit, half * 2, a[0]);
            Format::operand(unit, half * 2 + 1, a[1]);
#pragma unroll
            for (int n = 0; n < NT; ++n) {
                uint32_t b[4];
                load_tiles(b, rows + n * 8 * STRIDE + ((half * 4 + lane / 8) ^ lane % 8) * 8);
                mma_bf16(sum[n], a[0], b[0], b[1]);
                mma_bf16(sum[n], a[1], b[2], b[3]);
            }
        }
    }

    // The sum of the next slice, which begins anew.
    static __device__ __forceinline__ void add(Sums& total, Sums& sum) {
#pragma unroll
        for (int i = 0; i < NT * 4; ++i) {
            total[i / 4][i % 4] += sum[i / 4][i % 4];
            sum[i / 4][i % 4] = 0.0f;
        }
    }

    static __device__ __forceinline__ void leave(float* to, Sums& sum) {
#pragma unroll
        for (int i = 0; i < NT * 4; ++i) {
            to[i * THREADS + threadIdx.x] = sum[i / 4][i % 4];
            sum[i / 4][i % 4] = 0.0f;
        }
    }

    static __device__ __forceinline__ void gather(const float* from, int slices, Sums& total) {
        for (int slice = 0; slice < slices; ++slice, from += VALUES) {
#pragma unroll
            for (int i = 0; i < NT * 4; ++i) {
                total[i / 4][i % 4] += __ldcg(from + i * THREADS + threadIdx.x);
            }
        }
    }

    static __device__ bool last_to_arrive(int* arrivals) {
        __shared__ bool last;
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            last = atomicAdd(arrivals, 1) == gridDim.z - 1;
            if (last) {
                *arrivals = 0;
            }
        }
        __syncthreads();
        __threadfence();
        return last;
    }

    static __device__ __forceinline__ void store(const Job& job, int tile, const Sums& total) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < NT * 4; ++i) {
            job.store(i / 4 * 8 + lane % 4 * 2 + i % 2,
                      (tile + warp) * UNIT_OUTPUTS + lane / 4 + i % 4 / 2 * 8,
                      total[i / 4][i % 4]);
        }
    }
};
