// Products of tiles whose operands come through a ring while groups of four warps multiply.
//
// Where there are many tiles, a block goes from tile to tile: what is brought runs ahead of what
// is multiplied, also over the end of a tile. Where there are few, a tile is shared out to a
// cluster of blocks, a slice for each.
#pragma once

#include "../ptx/cluster.cuh"
#include "../ptx/mma.cuh"
#include "../ptx/registers.cuh"
#include "ring.cuh"

// What becomes of a product.
enum class Gate : int { NONE, SILU, GELU };

#if HAS_WGMMA

constexpr int CLUSTER = 8;

// GROUPS of four warps compute 64 outputs each, for at most ROWS rows, a multiple of sixteen. With
// a gate, which takes two groups, they compute 64 outputs of the gate and of what it lets through.
// Rows may come in boxes, for SHARERS blocks of a cluster that compute the same rows.
template <class Format, int GROUPS, int ROWS, int STAGES, bool SHARED = false, int SHARERS = 0>
struct Pipelined {
    static constexpr bool BOXES = SHARERS > 0;
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
    // Whether what comes out may be bf16, and pass a gate.
    static constexpr bool HALVES = GROUPS == 2 && !SHARED;
    // Of a warp: tiles of eight rows by sixteen outputs for the other group's, twice, and sixteen
    // rows on their way out, twice.
    using Passed = float4[2][2][32];
    using Leaving = uint8_t[2][16 * 32];
    using Stages = Ring<Format, 4 * GROUPS, ROWS, STAGES, CONSUMERS / 32, GATHERERS, SHARERS>;
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
    // What warps have for one another, and what they have for device memory.
    Passed* passed;
    Leaving* leaving;
    bool half;  // whether what comes out is bf16

    // By all threads. `Tiles` numbers tiles: `count()`, and `get(number)`, from `begin()` on by
    // `step()`. Where they are `early()`, weights may be fetched before the kernel before ends.
    template <class Tiles>
    static __device__ __forceinline__ void run(const Job& job, Gate gate, const Tiles& tiles,
                                               uint8_t* room, const TensorMap* x = nullptr,
                                               bool half = false) {
        __shared__ typename Stages::Barriers barriers;
        __shared__ Passed passed[HALVES ? CONSUMERS / 32 : 1];
        __shared__ __align__(16) Leaving leaving[HALVES ? CONSUMERS / 32 : 1];
        const Pipelined self = {job, gate, {barriers, room}, passed, leaving, half};
        if (threadIdx.x == 0) {
            self.ring.init();
        }
        self.meet_sharers();
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
            self.leave_sharers();
        } else {
            if constexpr (UNEVEN) {
                take_registers<232>();
            }
            self.multiply(tiles);
            self.leave_sharers();
        }
        if constexpr (SHARED) {
            self.add_slices(tiles.get(0));
        }
    }

    // Barriers are there for all that arrive at them.
    static __device__ __forceinline__ void meet_sharers() {
        if constexpr (SHARERS > 1) {
            cluster_barrier();
        } else {
            __syncthreads();
        }
    }

    // Nobody ends while others may still write to what it has.
    static __device__ __forceinline__ void leave_sharers() {
        if constexpr (SHARERS > 1) {
            __syncwarp();
            cluster_barrier();
        }
    }

    template <class Tiles>
    __device__ __forceinline__ void bring(const Tiles& tiles, const TensorMap* x, int warp) const {
        if (BOXES && tiles.early()) {
            wait_for_previous();
        }
        const int apart = gate == Gate::NONE ? 0 : job.outputs / UNIT_OUTPUTS;
        Turn turn;
        int nth = tiles.begin();
        if (nth >= tiles.count()) {
            return;
        }
        for (Tile tile = tiles.get(nth), next;; tile = next) {
            // Asked for before it is wanted.
            nth += tiles.step();
            const bool last = nth >= tiles.count();
            next = last ? tile : tiles.get(nth);
            ring.template bring<BRINGERS>(job, x, tile, apart, warp, turn);
            if (last) {
                return;
            }
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
        if constexpr (HALVES) {
            if (gate == Gate::SILU) {
                return store_gated<NT, false>(tile, sums.total);
            }
            if (gate == Gate::GELU) {
                return store_gated<NT, true>(tile, sums.total);
            }
            if (half) {
                return store_halves<NT>(tile, sums.total);
            }
        }
        store<NT>(tile, sums.total);
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

    template <int NT>
    __device__ __forceinline__ void store_halves(const Tile& tile,
                                                 const float (&total)[NT][4]) const {
        const int strip = tile.output + threadIdx.x / 32 * UNIT_OUTPUTS;
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            const float values[2][4] = {
                {total[n][0], total[n][1], total[n][2], total[n][3]},
                {total[n + 1][0], total[n + 1][1], total[n + 1][2], total[n + 1][3]}};
            store_sixteen(tile, strip, n * 8, 16, values);
        }
    }

    // The first group has the gate's outputs, and the second what it lets through. A warp passes
    // what the other one of the same outputs needs, for half of the rows each. Which activation it
    // is has been asked before, so that many are under way together.
    template <int NT, bool IS_GELU>
    __device__ __forceinline__ void store_gated(const Tile& tile,
                                                const float (&total)[NT][4]) const {
        // Tiles of eight rows that a warp passes on at a time.
        constexpr int EACH = NT >= 4 ? 2 : 1;
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, other = warp ^ 4;
        const bool second = warp >= 4;
        const int strip = tile.output + warp % 4 * UNIT_OUTPUTS;
#pragma unroll
        for (int n = 0; n < NT; n += 2 * EACH) {
            const int turn = n / (2 * EACH) % 2;
            float values[2][4] = {};
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                const float(&his)[4] = total[n + i], (&hers)[4] = total[n + EACH + i];
                passed[other][turn][i][lane] =
                    second ? make_float4(his[0], his[1], his[2], his[3])
                           : make_float4(hers[0], hers[1], hers[2], hers[3]);
            }
            meet_other(warp % 4);
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                const float4 four = passed[warp][turn][i][lane];
                const float its[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const float mine = second ? total[n + EACH + i][j] : total[n + i][j];
                    values[i][j] = activated(second ? its[j] : mine, IS_GELU) *
                                   (second ? mine : its[j]);
                }
            }
            store_sixteen(tile, strip, (second ? n + EACH : n) * 8, 8 * EACH, values);
        }
    }

    // Two warps of the same outputs.
    static __device__ __forceinline__ void meet_other(int pair) {
        asm volatile("bar.sync %0, 64;" ::"r"(2 + pair) : "memory");
    }

    // `count` rows from `first` on of a warp's sixteen outputs: two tiles of eight rows. Each lane
    // stores sixteen bytes.
    __device__ __forceinline__ void store_sixteen(const Tile& tile, int strip, int first, int count,
                                                  const float (&values)[2][4]) const {
        const int lane = threadIdx.x % 32;
        uint8_t* room = leaving[threadIdx.x / 32][first / 16 % 2];
        // The halves of rows lie so that eight rows are in different banks.
        const auto place = [&](int row, int part) {
            return room + row * 32 + (part ^ row / 4 % 2) * 16;
        };
        const uint32_t tiles[4] = {
            pair(values[0][0], values[0][1]), pair(values[0][2], values[0][3]),
            pair(values[1][0], values[1][1]), pair(values[1][2], values[1][3])};
        store_tiles_transposed(place(lane / 16 * 8 + lane % 8, lane / 8 % 2), tiles);
        __syncwarp();
        const int row = lane / 2, output = strip + lane % 2 * 8;
        if (row < count && first + row < tile.count && output < job.outputs) {
            bf16* out = reinterpret_cast<bf16*>(job.out) +
                        static_cast<size_t>(tile.first + first + row) * job.width + output;
            *reinterpret_cast<uint4*>(out) = *reinterpret_cast<const uint4*>(place(row, lane % 2));
        }
    }
};

#endif
