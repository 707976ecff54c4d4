// Products for a few rows: bound by the bytes of weights.
#pragma once

#include "../ptx/copy.cuh"
#include "../ptx/mma.cuh"
#include "../ptx/order.cuh"
#include "job.cuh"

// For at most 8 NT rows. With EARLY, the weight is one that does not depend on the kernel before, so
// its first units are asked for while that still runs. A block computes sixteen outputs; a slice is
// summed by a warp, straight from device memory: nothing of a weight is read by two threads.
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
