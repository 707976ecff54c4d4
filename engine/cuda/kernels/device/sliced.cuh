// Products of up to sixteen rows: a block computes a few strips of sixteen outputs, and each of its
// warps sums a slice of the inputs, of which it alone brings the rows and the weights.
#pragma once

#include "strips.cuh"

// TILES strips beside each other, of which a warp has AHEAD units each under way.
template <class Format, int TILES, int AHEAD>
struct Sliced {
    static constexpr int NT = 2, ROWS = 8 * NT;
    // Outputs of a block, and from one row of sums to the next.
    static constexpr int OUTPUTS = TILES * UNIT_OUTPUTS, PITCH = OUTPUTS + 4;
    using Strip = Strips<Format, TILES, NT, AHEAD>;
    using Unit = typename Format::Unit;

    // Shared memory has the rows, then each warp's sums. The weight is one that no kernel writes.
    static __device__ void run(const Job& job, uint8_t* room) {
        const Slice slice(job);
        const int tiles = (job.outputs + UNIT_OUTPUTS - 1) / UNIT_OUTPUTS;
        const uint8_t* weights[TILES];
        Unit ahead[AHEAD][TILES];
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
            const size_t tile = min(static_cast<int>(blockIdx.x) * TILES + t, tiles - 1);
            weights[t] = job.weight + tile * slice.units * Format::BYTES;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            fetch_units<Format>(slice, weights, slice.begin + i, ahead[i]);
        }
        wait_for_previous();
        const Rows rows(room, slice.units);
        rows.bring(job, slice.begin, slice.end);
        copies_commit();
        copies_wait<0>();
        __syncwarp();
        const bf16* inputs[NT];
        Strip::lanes(rows, job.count, inputs);
        typename Strip::Sums sum = {};
        for (int at = slice.begin; at < slice.end; at += AHEAD) {
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (at + i < slice.end) {
                    Strip::add(ahead[i], inputs, (at + i) * UNIT_INPUTS, sum);
                    fetch_units<Format>(slice, weights, at + AHEAD + i, ahead[i]);
                }
            }
        }
        auto sums = reinterpret_cast<float*>(room + rows.bytes(job.count));
        leave(sums + slice.warp * ROWS * PITCH, sum);
        __syncthreads();
        for (int i = threadIdx.x; i < job.count * OUTPUTS; i += blockDim.x) {
            const int row = i / OUTPUTS, output = i % OUTPUTS;
            float total = 0.0f;
#pragma unroll 8
            for (int of = 0; of < slice.warps; ++of) {
                total += sums[(of * ROWS + row) * PITCH + output];
            }
            job.store(row, blockIdx.x * OUTPUTS + output, total);
        }
    }

    static __device__ __forceinline__ void leave(float* to, const typename Strip::Sums& sum) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < TILES * NT * 4; ++i) {
            const int tile = i / (NT * 4), row = i / 4 % NT * 8 + lane % 4 * 2 + i % 2;
            to[row * PITCH + tile * UNIT_OUTPUTS + lane / 4 + i % 4 / 2 * 8] =
                sum[tile][i / 4 % NT][i % 4];
        }
    }
};
