// Products of tiles whose operands come through a ring while groups of four warps multiply.
//
// Where there are many tiles, a block goes from tile to tile: what is brought runs ahead of what
// is multiplied, also over the end of a tile. Where there are few, a tile is shared out to a
// cluster of blocks, a slice for each.
#pragma once

#include "../ptx/cluster.cuh"
#include "../ptx/registers.cuh"
#include "ring.cuh"

// What becomes of a product.
enum class Gate : int { NONE, SILU, GELU };

#if HAS_WGMMA

constexpr int CLUSTER = 8;

// GROUPS of four warps compute 64 outputs each, for at most ROWS rows, a multiple of sixteen. With
// a gate, which takes two groups, they compute 64 outputs of the gate and of what it lets through.
template <class Format, int GROUPS, int ROWS, int STAGES, bool SHARED = false,
          bool BOXES = false>
struct Pipelined {
    static constexpr int OUTPUTS = 64 * GROUPS;
    static constexpr int CONSUMERS = 128 * GROUPS;
    // Warps that bring rows, besides the one that brings weights.
    static constexpr int GATHERERS = ROWS > 32 ? 3 : 1;
    static constexpr int THREADS = CONSUMERS + 32 * (1 + GATHERERS);
    // Warps that bring weights; where rows come in boxes, all that do not multiply.
    static constexpr int BRINGERS = BOXES ? 1 + GATHERERS : 1;
    // Large tiles need more registers than a thread's share.
    static constexpr bool UNEVEN = ROWS > 64 && !SHARED;
    // Sums of a slice lie row by row; the pitch puts the rows of a fragment into different banks.
    static constexpr int PITCH = OUTPUTS + 4;
    // Whether groups pass each other what a gate takes.
    static constexpr bool PASSES = GROUPS == 2 && !SHARED;
    using Stages = Ring<Format, 4 * GROUPS, ROWS, STAGES, CONSUMERS / 32, GATHERERS, BOXES>;
    static_assert(!SHARED || ROWS * PITCH * 4 <= Stages::BYTES, "the ring has room for sums");

    // Weights of a unit, as four products take them.
    using Operand = uint32_t[UNIT_STEPS][4];

    template <int NT>
    struct Sums {
        float total[NT][4], sum[NT][4];
        int left;   // units of the slice
        int more;   // the slice has begun
        int units;  // of the tile
    };

    const Job& job;
    Gate gate;
    Stages ring;
    // What one group has for the other: of two tiles of eight rows, twice.
    float (*passed)[2][4][128];

    // By all threads. `Tiles` numbers tiles: `count()`, and `get(number)`, from `begin()` on by
    // `step()`. Where they are `early()`, weights may be fetched before the kernel before ends.
    template <class Tiles>
    static __device__ __forceinline__ void run(const Job& job, Gate gate, const Tiles& tiles,
                                               uint8_t* room, const TensorMap* x = nullptr) {
        __shared__ typename Stages::Barriers barriers;
        __shared__ float passed[PASSES ? 2 * 2 * 4 * 128 : 1];
        const Pipelined self = {job, gate, {barriers, room},
                                reinterpret_cast<float(*)[2][4][128]>(passed)};
        if (threadIdx.x == 0) {
            self.ring.init();
        }
        __syncthreads();
        const int warp = threadIdx.x / 32;
        if (warp >= CONSUMERS / 32) {
            if constexpr (UNEVEN) {
                keep_registers<40>();
            }
            if (warp < CONSUMERS / 32 + BRINGERS) {
                self.bring(tiles, x, warp - CONSUMERS / 32);
            } else {
                self.bring_rows(tiles);
            }
        } else {
            if constexpr (UNEVEN) {
                take_registers<232>();
            }
            self.multiply(tiles);
        }
        if constexpr (SHARED) {
            self.add_slices(tiles.get(0));
        }
    }

    template <class Tiles>
    __device__ __forceinline__ void bring(const Tiles& tiles, const TensorMap* x, int warp) const {
        if (BOXES && tiles.early()) {
            wait_for_previous();
        }
        const int apart = gate == Gate::NONE ? 0 : job.outputs / UNIT_OUTPUTS;
        Turn turn;
        for (int nth = tiles.begin(); nth < tiles.count(); nth += tiles.step()) {
            ring.template bring<BRINGERS>(job, x, tiles.get(nth), apart, warp, turn);
        }
    }

    template <class Tiles>
    __device__ __forceinline__ void bring_rows(const Tiles& tiles) const {
        if (tiles.early()) {
            wait_for_previous();
        }
        Turn turn;
        for (int nth = tiles.begin(); nth < tiles.count(); nth += tiles.step()) {
            ring.bring_rows(job, tiles.get(nth), threadIdx.x - CONSUMERS - 32, turn);
        }
    }

    // As many rows are multiplied as a tile has, or a few more.
    template <class Tiles>
    __device__ __forceinline__ void multiply(const Tiles& tiles) const {
        Turn turn;
        for (int nth = tiles.begin(); nth < tiles.count(); nth += tiles.step()) {
            const Tile tile = tiles.get(nth);
            if constexpr (ROWS <= 64 || SHARED) {
                multiply_tile<ROWS / 8>(tile, turn);
            } else if (tile.count <= 64) {
                multiply_tile<8>(tile, turn);
            } else if (tile.count <= 128 || ROWS == 128) {
                multiply_tile<16>(tile, turn);
            } else if (BOXES && tile.count <= 160 && ROWS > 160) {
                multiply_tile<20>(tile, turn);
            } else {
                multiply_tile<ROWS / 8>(tile, turn);
            }
        }
    }

    template <int NT>
    __device__ __forceinline__ void multiply_tile(const Tile& tile, Turn& turn) const {
        Sums<NT> sums = {};
        sums.left = job.slice;
        sums.units = tile.end - tile.begin;
        if constexpr (SHARED) {
            // There are few units, and other blocks beside this one.
            for (; sums.units > 0; --sums.units, sums.more = 1) {
                Operand weights;
                load(weights, turn);
                multiply_unit(weights, sums, turn);
                products_wait<0>();
                ring.release(turn);
            }
            leave<NT>(sums.sum);
            return;
        }
        Operand even, odd;
        load(even, turn);
        while (step(even, odd, sums, turn) && step(odd, even, sums, turn)) {
        }
        if (GROUPS == 2 && gate != Gate::NONE) {
            store_gated<NT>(tile, sums.total);
        } else {
            store<NT>(tile, sums.total);
        }
    }

    // Waits for the stage, and brings its weights into registers.
    __device__ __forceinline__ void load(Operand& a, const Turn& turn) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        ring.barriers.full[turn.stage].wait(turn.parity);
        if constexpr (!BOXES) {
            // Here, since those who bring rows would wait for all that they asked for.
            products_see_copies();
        }
        const uint8_t* weights = ring.stage(turn) + Stages::WEIGHTS_AT;
        auto unit = Format::template load<true>(weights + warp * Format::BYTES, lane);
#pragma unroll
        for (int step = 0; step < UNIT_STEPS; ++step) {
            Format::operand(unit, step, a[step]);
        }
    }

    template <int NT>
    __device__ __forceinline__ void multiply_unit(const Operand& weights, Sums<NT>& sums,
                                                  const Turn& turn) const {
        const uint8_t* rows = ring.stage(turn);
        products_begin();
#pragma unroll
        for (int step = 0; step < UNIT_STEPS; ++step) {
            wgmma_bf16(sums.sum, weights[step], tile_of(rows + step * 32),
                       step == 0 ? sums.more : 1);
        }
        products_commit();
    }

    // Multiplies a unit while the next one's weights come; whether there is one. While products are
    // under way, nothing touches their registers.
    template <int NT>
    __device__ __forceinline__ bool step(const Operand& now, Operand& next, Sums<NT>& sums,
                                         Turn& turn) const {
        multiply_unit(now, sums, turn);
        Turn done = turn;
        turn.next(STAGES);
        const bool last = --sums.units == 0;
        if (!last) {
            load(next, turn);
        }
        products_wait<0>();
        ring.release(done);
        sums.more = 1;
        if (--sums.left == 0 || last) {
            sums.left = job.slice, sums.more = 0;
#pragma unroll
            for (int i = 0; i < NT * 4; ++i) {
                sums.total[i / 4][i % 4] += sums.sum[i / 4][i % 4];
            }
        }
        return !last;
    }

    // A slice's sums, for the cluster.
    template <int NT>
    __device__ __forceinline__ void leave(const float (&sum)[NT][4]) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        // Nobody needs the ring any more.
        meet<1, CONSUMERS>();
        float* sums = reinterpret_cast<float*>(ring.room) + warp * UNIT_OUTPUTS + lane / 4;
#pragma unroll
        for (int i = 0; i < NT * 4; ++i) {
            sums[(i / 4 * 8 + lane % 4 * 2 + i % 2) * PITCH + i % 4 / 2 * 8] = sum[i / 4][i % 4];
        }
    }

    // Adds the slices of the cluster's blocks; each block does some of the rows.
    __device__ __forceinline__ void add_slices(const Tile& tile) const {
        const int outputs = gate == Gate::NONE ? OUTPUTS : OUTPUTS / 2;
        __syncwarp();
        cluster_barrier();
        for (int i = threadIdx.x; i < ROWS / CLUSTER * outputs; i += THREADS) {
            const int row = i / outputs * CLUSTER + cluster_rank(), output = i % outputs;
            if (row < tile.count && tile.output + output < job.outputs) {
                float value = add_slices(row, output);
                const size_t at = static_cast<size_t>(tile.first + row) * job.width + tile.output +
                                  output;
                if (gate == Gate::NONE) {
                    job.out[at] = job.bias ? value + job.bias[tile.output + output] : value;
                } else {
                    reinterpret_cast<bf16*>(job.out)[at] =
                        gated(value, add_slices(row, outputs + output), gate == Gate::GELU);
                }
            }
        }
        // Nobody leaves while others read what it has.
        cluster_barrier();
    }

    __device__ __forceinline__ float add_slices(int row, int output) const {
        const int slices = (job.units() + job.slice - 1) / job.slice;
        const float* at = reinterpret_cast<const float*>(ring.room) + row * PITCH + output;
        float part[CLUSTER], total = 0.0f;
#pragma unroll
        for (int slice = 0; slice < CLUSTER; ++slice) {
            part[slice] = load_from(slice, at);
        }
#pragma unroll
        for (int slice = 0; slice < CLUSTER; ++slice) {
            total += slice < slices ? part[slice] : 0.0f;
        }
        return total;
    }

    template <int NT>
    __device__ __forceinline__ void store(const Tile& tile, const float (&total)[NT][4]) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const int output = tile.output + warp * UNIT_OUTPUTS + lane / 4;
        const bool exists[2] = {output < job.outputs, output + 8 < job.outputs};
        const float bias[2] = {job.bias && exists[0] ? job.bias[output] : 0.0f,
                               job.bias && exists[1] ? job.bias[output + 8] : 0.0f};
        const int row = lane % 4 * 2;
        float* out = job.out + static_cast<size_t>(tile.first + row) * job.width + output;
#pragma unroll
        for (int n = 0; n < NT; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float value = job.bias ? total[n][i] + bias[i / 2] : total[n][i];
                if (n * 8 + row + i % 2 < tile.count && exists[i / 2]) {
                    out[(n * 8 + i % 2) * static_cast<size_t>(job.width) + i / 2 * 8] = value;
                }
            }
        }
    }

    // The first group has the gate's outputs, and the second what it lets through; each passes the
    // other what that needs, for every other eight rows.
    template <int NT>
    __device__ __forceinline__ void store_gated(const Tile& tile,
                                                const float (&total)[NT][4]) const {
        const int lane = threadIdx.x % 32, thread = threadIdx.x % 128, group = threadIdx.x / 128;
        const int strip = tile.output + thread / 32 * UNIT_OUTPUTS;
        const bool odd = lane / 4 % 2;
        const int output = strip + lane / 4 / 2 * 2, row = lane % 4 * 2 + odd;
        bf16* out = reinterpret_cast<bf16*>(job.out) + output +
                    static_cast<size_t>(tile.first + row) * job.width;
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            auto& room = passed[n / 2 % 2];
            float others[4], mine[4];
            bf16 value[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                room[1 - group][i][thread] = group ? total[n][i] : total[n + 1][i];
                mine[i] = group ? total[n + 1][i] : total[n][i];
            }
            meet<1, CONSUMERS>();
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                others[i] = room[group][i][thread];
                value[i] = gated(group ? others[i] : mine[i], group ? mine[i] : others[i],
                                 gate == Gate::GELU);
            }
            const int first = (n + group) * 8;
            if (strip < job.outputs) {
                store_pair(out + first * static_cast<size_t>(job.width), value, odd,
                           first + row < tile.count);
            }
        }
    }

    // A thread has outputs g and g + 8 of two rows. It stores one row's, with the outputs beside
    // them, which it trades for those of the other row.
    static __device__ __forceinline__ void store_pair(bf16* out, const bf16 (&value)[4], bool odd,
                                                      bool exists) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const bf16 mine = odd ? value[half * 2 + 1] : value[half * 2];
            const bf16 given = odd ? value[half * 2] : value[half * 2 + 1];
            const bf16 taken = __shfl_xor_sync(~0u, given, 4);
            if (exists) {
                *reinterpret_cast<__nv_bfloat162*>(out + half * 8) =
                    odd ? __nv_bfloat162(taken, mine) : __nv_bfloat162(mine, taken);
            }
        }
    }
};

#endif
