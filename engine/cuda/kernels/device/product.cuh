// out = x weight^T for a few rows of x, in two shapes of one order of summation.
//
// The inputs are cut into slices of whole units. A slice is summed by tensor cores, sixteen inputs
// after sixteen; the slices are then added, the first one first. That order is a function of the
// weight's shape alone, so a row's bits depend neither on how many rows there are nor on which of
// the two shapes computed it.
#pragma once

#include "../ptx/copy.cuh"
#include "../ptx/mma.cuh"
#include "../ptx/order.cuh"
#include "../ptx/wgmma.cuh"
#include "weight.cuh"

// Rows of one product, and the weight that they meet.
struct Job {
    const uint8_t* weight;  // units of the first output: [outputs / 16][units]
    const bf16* x;          // [rows, inputs]
    const int* rows;        // the row of x that each row of `out` is of; null: the same
    float* out;             // the first row's, from the weight's first output on
    const float* bias;      // null: none
    int first, count;       // rows of `out`
    int inputs, outputs;
    int width;              // of a row of out
    int slice;              // units in a slice

    __device__ int units() const { return (inputs + UNIT_INPUTS - 1) / UNIT_INPUTS; }
    __device__ const bf16* row(int i) const {
        int row = rows ? rows[first + i] : first + i;
        return x + static_cast<size_t>(row) * inputs;
    }
    __device__ void store(int i, int output, float value) const {
        if (i < count && output < outputs) {
            out[static_cast<size_t>(first + i) * width + output] =
                bias ? value + bias[output] : value;
        }
    }
};

// For at most 8 NT rows. With EARLY, the weight is one that does not depend on the kernel before, so
// its first units are asked for while that still runs. A block computes sixteen outputs; a slice is summed by a warp, straight
// from device memory: nothing of a weight is read by two threads.
template <class Format, int NT, bool EARLY>
__device__ void product_skinny(const Job& job, int tile, bf16* room) {
    constexpr int AHEAD = Format::BYTES > 1024 && !EARLY ? 2 : 4;
    __shared__ float sums[8][8 * NT][UNIT_OUTPUTS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const int units = job.units(), stride = units * UNIT_INPUTS + 8;
    const int begin = min(units, warp * job.slice), end = min(units, begin + job.slice);
    const uint8_t* weight = job.weight + static_cast<size_t>(tile) * units * Format::BYTES;

    typename Format::Unit ahead[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
        if (begin + i < end) {
            ahead[i] = Format::template load<false>(weight + (begin + i) * Format::BYTES, lane);
        }
    }
    if (EARLY) {
        wait_for_previous();
    }
    // A warp brings what it reads, and waits for nobody else.
    for (int row = 0; row < job.count; ++row) {
        const bf16* from = job.row(row);
        for (int at = begin * UNIT_INPUTS + lane * 8; at < end * UNIT_INPUTS; at += 256) {
            copy_16(room + row * stride + at, at < job.inputs ? from + at : from, at < job.inputs);
        }
    }
    copies_commit();
    copies_wait<0>();
    __syncwarp();

    float sum[NT][4] = {};
    // Rows that are not there read the last one that is: what comes of them is not stored.
    const bf16* rows[NT];
#pragma unroll
    for (int n = 0; n < NT; ++n) {
        rows[n] = room + min(n * 8 + lane % 8, job.count - 1) * stride + lane / 8 * 8;
    }
    for (int at = begin; at < end; at += AHEAD) {
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            if (at + i < end) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    uint32_t a[2][4];
                    Format::operand(ahead[i], half * 2, a[0]);
                    Format::operand(ahead[i], half * 2 + 1, a[1]);
#pragma unroll
                    for (int n = 0; n < NT; ++n) {
                        uint32_t b[4];
                        load_tiles(b, rows[n] + (at + i) * UNIT_INPUTS + half * 32);
                        mma_bf16(sum[n], a[0], b[0], b[1]);
                        mma_bf16(sum[n], a[1], b[2], b[3]);
                    }
                }
                if (at + AHEAD + i < end) {
                    ahead[i] = Format::template load<false>(
                        weight + (at + AHEAD + i) * Format::BYTES, lane);
                }
            }
        }
    }
#pragma unroll
    for (int n = 0; n < NT; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sums[warp][n * 8 + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sum[n][i];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 8 * NT * UNIT_OUTPUTS; i += blockDim.x) {
        int row = i / UNIT_OUTPUTS, output = i % UNIT_OUTPUTS;
        float total = 0.0f;
        for (int slice = 0; slice < warps; ++slice) {
            total += sums[slice][row][output];
        }
        job.store(row, tile * UNIT_OUTPUTS + output, total);
    }
}

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
    static constexpr int STAGES = 4;
    static constexpr int ROWS = 8 * NT;
    // Rows of 128 bytes, whose sixteen-byte pieces are swizzled: piece i of row r is at i ^ r % 8.
    static constexpr int STRIDE = UNIT_INPUTS;
    static constexpr int ROW_BYTES = ROWS * STRIDE * 2;
    static constexpr int STAGE_BYTES = (ROW_BYTES + WARPS * Format::BYTES + 1023) / 1024 * 1024;
    // The products of four warps together, for as many rows as they take.
    static constexpr bool TOGETHER = HAS_WGMMA && NT == 8 && WARPS == 4;
    static constexpr int VALUES = WARPS * 32 * NT * 4;
    using Sums = float[NT][4];

    static __device__ void fetch_weight(const Job& job, int tile, int unit, uint8_t* stage) {
        constexpr int PIECES = Format::BYTES / 16;
        const int units = job.units();
        const int tiles = (job.outputs + UNIT_OUTPUTS - 1) / UNIT_OUTPUTS;
        for (int i = threadIdx.x; i < WARPS * PIECES; i += WARPS * 32) {
            int warp = i / PIECES, piece = i % PIECES;
            size_t at = static_cast<size_t>(min(tile + warp, tiles - 1)) * units + unit;
            copy_16(stage + ROW_BYTES + warp * Format::BYTES + piece * 16,
                    job.weight + at * Format::BYTES + piece * 16, true);
        }
    }

    static __device__ void fetch_rows(const Job& job, int unit, uint8_t* stage) {
        auto room = reinterpret_cast<bf16*>(stage);
        for (int i = threadIdx.x; i < ROWS * 8; i += WARPS * 32) {
            int row = i / 8, input = unit * UNIT_INPUTS + i % 8 * 8;
            bool valid = row < job.count && input < job.inputs;
            copy_16(room + row * STRIDE + (i ^ row) % 8 * 8, job.row(valid ? row : 0) + (valid ? input : 0),
                    valid);
        }
    }

    static __device__ void run(const Job& job, int tile, uint8_t* room, const Shared& shared,
                               bool early) {
        const int units = job.units(), slices = (units + job.slice - 1) / job.slice;
        const int each = (slices + gridDim.z - 1) / gridDim.z;
        const int first_slice = blockIdx.z * each;
        const int begin = min(units, first_slice * job.slice);
        const int end = min(units, (first_slice + each) * job.slice);
        for (int stage = 0; early && stage < STAGES - 1 && begin + stage < end; ++stage) {
            fetch_weight(job, tile, begin + stage, room + stage * STAGE_BYTES);
        }
        if (early) {
            wait_for_previous();
        }
#pragma unroll
        for (int stage = 0; stage < STAGES - 1; ++stage) {
            if (begin + stage < end) {
                if (!early) {
                    fetch_weight(job, tile, begin + stage, room + stage * STAGE_BYTES);
                }
                fetch_rows(job, begin + stage, room + stage * STAGE_BYTES);
            }
            copies_commit();
        }
        const bool alone = gridDim.z == 1;
        const size_t grid_tile = static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x;
        float* mine = alone ? nullptr : shared.sums + (grid_tile * slices + first_slice) * VALUES;
        Sums total = {}, sum = {};
        int left = job.slice;
        for (int unit = begin; unit < end; ++unit) {
            copies_wait<STAGES - 2>();
#if HAS_WGMMA
            products_see_copies();
#endif
            __syncthreads();
            const int at = unit - begin, next = unit + STAGES - 1;
            if (next < end) {
                uint8_t* stage = room + (at + STAGES - 1) % STAGES * STAGE_BYTES;
                fetch_weight(job, tile, next, stage);
                fetch_rows(job, next, stage);
            }
            copies_commit();
            add_unit(room + at % STAGES * STAGE_BYTES, sum);
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
#if HAS_WGMMA
        if constexpr (TOGETHER) {
            uint32_t a[UNIT_STEPS][4];
#pragma unroll
            for (int step = 0; step < UNIT_STEPS; ++step) {
                Format::operand(unit, step, a[step]);
            }
            products_begin();
#pragma unroll
            for (int step = 0; step < UNIT_STEPS; ++step) {
                wgmma_bf16(sum, a[step], tile_of(stage + step * 32));
            }
            products_commit();
            products_wait();
            return;
        }
#endif
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
            to[i * WARPS * 32 + threadIdx.x] = sum[i / 4][i % 4];
            sum[i / 4][i % 4] = 0.0f;
        }
    }

    static __device__ __forceinline__ void gather(const float* from, int slices, Sums& total) {
        for (int slice = 0; slice < slices; ++slice, from += VALUES) {
#pragma unroll
            for (int i = 0; i < NT * 4; ++i) {
                total[i / 4][i % 4] += __ldcg(from + i * WARPS * 32 + threadIdx.x);
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
