// Products for at most eight rows: bound by the bytes of weights. A block computes sixteen outputs, or
// some such tiles that belong together, and a warp sums a slice of the inputs.
//
// A weight that no kernel writes can be fetched while the kernels before still run. How much is in
// flight by then is what counts: a tile lies in shared memory as a whole (`Resident`), or goes through
// registers, a few units ahead (`Streamed`), so that two kernels in a row need not share one kind of
// room. Nothing of a weight is read by two threads.
#pragma once

#include "../ptx/copy.cuh"
#include "../ptx/mma.cuh"
#include "../ptx/order.cuh"
#include "job.cuh"
#include "norm.cuh"

// What a warp of a block does of a job.
struct Slice {
    int lane, warp, warps;
    int units, begin, end;

    __device__ explicit Slice(const Job& job)
        : lane(threadIdx.x % 32), warp(threadIdx.x / 32), warps(blockDim.x / 32),
          units(job.units()), begin(min(units, warp * job.slice)),
          end(min(units, begin + job.slice)) {}
};

// Rows of a job in shared memory: apart by sixteen bytes more than they are wide, so that the same
// inputs of eight rows are in different banks.
struct Rows {
    bf16* room;
    int stride;

    __device__ Rows(void* room, int units)
        : room(static_cast<bf16*>(room)), stride(units * UNIT_INPUTS + 8) {}
    __device__ int bytes(int count) const { return count * stride * 2; }

    // Copies the inputs of some units of a job's rows, by a warp. Beyond the last input are zeros.
    __device__ void bring(const Job& job, int begin, int end) const {
        for (int row = 0; row < job.count; ++row) {
            bring_row(row, job, row, begin, end);
        }
    }
    // The same of the job's row `of`.
    __device__ void bring_row(int row, const Job& job, int of, int begin, int end) const {
        const bf16* from = job.row(of);
        for (int at = begin * UNIT_INPUTS + threadIdx.x % 32 * 8; at < end * UNIT_INPUTS;
             at += 256) {
            const bool valid = at < job.inputs;
            copy_16(room + row * stride + at, valid ? from + at : from, valid);
        }
    }

    // Where a lane reads operands from. Rows that are not there are the last one that is: what
    // comes of them is not stored.
    __device__ const bf16* lane(int count) const {
        const int lane = threadIdx.x % 32;
        return room + min(lane % 8, count - 1) * stride + lane / 8 * 8;
    }
};

// Adds to each tile's sum the products of its unit with the rows' inputs.
template <class Format, int TILES>
__device__ __forceinline__ void add_units(const typename Format::Unit (&units)[TILES],
                                          const bf16* inputs, float (&sums)[TILES][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        uint32_t b[4];
        load_tiles(b, inputs + half * 32);
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            uint32_t a[4];
            Format::operand(units[tile], half * 2, a);
            mma_bf16(sums[tile], a, b[0], b[1]);
            Format::operand(units[tile], half * 2 + 1, a);
            mma_bf16(sums[tile], a, b[2], b[3]);
        }
    }
}

// Sums of slices that a block's warps leave for each other: [slices][rows][outputs].
struct Sums {
    float* room;
    int count;

    __device__ void leave(int slice, const float (&sum)[4]) const {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = lane % 4 * 2 + i % 2;
            if (row < count) {
                room[(slice * count + row) * UNIT_OUTPUTS + lane / 4 + i / 2 * 8] = sum[i];
            }
        }
    }
    // Of all slices, the first one first.
    __device__ float total(int slices, int row, int output) const {
        float total = 0.0f;
#pragma unroll 8
        for (int slice = 0; slice < slices; ++slice) {
            total += room[(slice * count + row) * UNIT_OUTPUTS + output];
        }
        return total;
    }
};

// What stands in a residual where a tile's outputs are to be added, asked for before it is wanted.
class Before {
public:
    __device__ Before(const Job& job, const float* residual, int tile)
        : job(job), residual(residual), tile(tile), first(0.0f) {}
    __device__ void ask(int count) {
        if (static_cast<int>(threadIdx.x) < count * UNIT_OUTPUTS) {
            first = at(threadIdx.x);
        }
    }
    // Of the `i`-th value of the block: a thread's first, or one of those that are left.
    __device__ float of(int i) const { return i == threadIdx.x ? first : at(i); }

private:
    __device__ float at(int i) const {
        const int output = tile * UNIT_OUTPUTS + i % UNIT_OUTPUTS;
        return residual && output < job.outputs
                   ? __ldcg(residual + job.place(i / UNIT_OUTPUTS, output))
                   : 0.0f;
    }

    const Job& job;
    const float* residual;
    int tile;
    float first;
};

// A tile's outputs, by a block.
__device__ __forceinline__ void store(const Job& job, int tile, const Sums& sums,
                                      float* residual = nullptr,
                                      const Before* before = nullptr) {
    for (int i = threadIdx.x; i < job.count * UNIT_OUTPUTS; i += blockDim.x) {
        const int row = i / UNIT_OUTPUTS, output = i % UNIT_OUTPUTS;
        job.store(row, tile * UNIT_OUTPUTS + output, sums.total(blockDim.x / 32, row, output),
                  residual, before ? before->of(i) : 0.0f);
    }
}

// A unit of the slice, of weights that lie in device memory; nothing beyond its end.
template <class Format, int TILES>
__device__ __forceinline__ void fetch_units(const Slice& slice,
                                            const uint8_t* const (&weights)[TILES], int unit,
                                            typename Format::Unit (&to)[TILES]) {
    if (unit < slice.end) {
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
            to[t] = Format::template load<false>(weights[t] + unit * Format::BYTES, slice.lane);
        }
    }
}

// A product of rows with one tile, which lies in shared memory as a whole, then the rows, then the
// sums. The tile is of a weight that no kernel writes. With NORM, the rows are normed on the way, by a
// block as a `HalfNorm` wants it.
template <class Format, bool NORM>
struct Resident {
    static __device__ Sums run(const Job& job, const Normed& normed, int tile, uint8_t* room,
                               Before* before = nullptr) {
        const Slice slice(job);
        const uint8_t* weight = job.weight + static_cast<size_t>(tile) * slice.units * Format::BYTES;
        fetch(room + slice.begin * Format::BYTES, weight + slice.begin * Format::BYTES,
              (slice.end - slice.begin) * Format::BYTES);
        const Rows rows(room + slice.units * Format::BYTES, slice.units);
        if constexpr (NORM) {
            const HalfNorm norm(normed);
            wait_for_previous();
            for (int row = 0; row < job.count; ++row) {
                norm.row(job.first + row, rows.room + row * rows.stride,
                         slice.units * UNIT_INPUTS, normed.out && tile == 0);
            }
        } else {
            wait_for_previous();
            // A warp brings what it reads, and waits for nobody else.
            rows.bring(job, slice.begin, slice.end);
        }
        if (before) {
            before->ask(job.count);
        }
        copies_commit();
        copies_wait<0>();
        __syncwarp();
        const bf16* inputs = rows.lane(job.count);
        float sum[1][4] = {};
#pragma unroll 4
        for (int unit = slice.begin; unit < slice.end; ++unit) {
            typename Format::Unit units[1] = {
                Format::template load<true>(room + unit * Format::BYTES, slice.lane)};
            add_units<Format, 1>(units, inputs + unit * UNIT_INPUTS, sum);
        }
        const Sums sums = {reinterpret_cast<float*>(rows.room) + rows.bytes(job.count) / 4,
                           job.count};
        sums.leave(slice.warp, sum[0]);
        __syncthreads();
        return sums;
    }

    // Enough to keep the memory busy, and no more: what the kernels before still read would have to
    // wait behind it.
    static __device__ void fetch(uint8_t* to, const uint8_t* from, int bytes) {
        constexpr int STEP = 2048;
        for (int at = 0; at < bytes; at += STEP) {
            copy_once(to + at, from + at, min(STEP, bytes - at));
            copies_commit();
            copies_wait<PACE>();
        }
    }

    // Steps of each warp that are under way together.
    static constexpr int PACE = 1;
};

// Products of rows with some tiles, whose units go through registers, AHEAD of each tile at a time.
// Shared memory has the rows, then the sums of each tile. With EARLY, the weight is one that does not
// depend on the kernel before.
template <class Format, int TILES, int AHEAD, bool EARLY>
struct Streamed {
    using Unit = typename Format::Unit;

    static __device__ Sums run(const Job& job, const int (&tiles)[TILES], uint8_t* room) {
        const Slice slice(job);
        const uint8_t* weights[TILES];
        Unit ahead[AHEAD][TILES];
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
            weights[t] = job.weight + static_cast<size_t>(tiles[t]) * slice.units * Format::BYTES;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            fetch_units<Format>(slice, weights, slice.begin + i, ahead[i]);
        }
        if (EARLY) {
            wait_for_previous();
        }
        const Rows rows(room, slice.units);
        rows.bring(job, slice.begin, slice.end);
        copies_commit();
        copies_wait<0>();
        __syncwarp();
        const bf16* inputs = rows.lane(job.count);
        float sum[TILES][4] = {};
        for (int at = slice.begin; at < slice.end; at += AHEAD) {
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (at + i < slice.end) {
                    add_units<Format, TILES>(ahead[i], inputs + (at + i) * UNIT_INPUTS, sum);
                    fetch_units<Format>(slice, weights, at + AHEAD + i, ahead[i]);
                }
            }
        }
        const Sums sums = {reinterpret_cast<float*>(room + rows.bytes(job.count)), job.count};
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
            sums.leave(t * slice.warps + slice.warp, sum[t]);
        }
        __syncthreads();
        return sums;
    }
};
