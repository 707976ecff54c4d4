// A ring of stages in shared memory, through which the operands of large tiles come: one warp
// brings weights, others bring rows of x, ahead of those who multiply (Hopper's).
#pragma once

#include "../ptx/bulk.cuh"
#include "../ptx/copy.cuh"
#include "../ptx/order.cuh"
#include "../ptx/wgmma.cuh"
#include "job.cuh"

#if HAS_WGMMA

// Rows that meet some outputs of a weight.
struct Tile {
    const uint8_t* weight;  // of the job's first output
    int output;             // the first that a block computes
    int first, count;       // rows
    int begin, end;         // units
};

// Stages of ROWS rows and STRIPS weights of sixteen outputs, each of 64 inputs. CONSUMERS warps
// multiply, the one after them brings weights, and GATHERERS more bring rows. Where these lie one
// after the other, they come in boxes, for SHARERS blocks of a cluster, each of which brings its
// share for all; 0: they don't.
template <class Format, int STRIPS, int ROWS, int STAGES, int CONSUMERS, int GATHERERS,
          int SHARERS>
struct Ring {
    static constexpr bool BOXES = SHARERS > 0, SHARES = SHARERS > 1;
    // Rows of 128 bytes, whose sixteen-byte pieces are swizzled: piece i of row r is at i ^ r % 8.
    static constexpr int ROW_BYTES = 2 * UNIT_INPUTS;
    static constexpr int WEIGHTS_AT = ROWS * ROW_BYTES;
    static constexpr int STAGE_BYTES = (WEIGHTS_AT + STRIPS * Format::BYTES + 1023) / 1024 * 1024;
    static constexpr int BYTES = STAGES * STAGE_BYTES;

    // Rows of a box of x.
    static constexpr int BOX = 32;
    // Rows that those who bring them one by one ask for at once, and how often; four times make
    // a batch.
    static constexpr int EACH = 4 * GATHERERS;
    static constexpr int PASSES = (ROWS + 4 * EACH - 1) / (4 * EACH) * 4;

    struct Barriers {
        Barrier full[STAGES], empty[STAGES];
        // Where each row of a tile is in x, in sixteens of bytes. A warp's own are its business
        // alone.
        uint4 from[EACH][PASSES / 4];
    };

    Barriers& barriers;
    uint8_t* room;

    // By one thread, before all others begin.
    __device__ void init() const {
        for (int stage = 0; stage < STAGES; ++stage) {
            barriers.full[stage].init(BOXES ? 1 : 1 + 32 * GATHERERS);
            barriers.empty[stage].init(SHARES ? SHARERS * CONSUMERS : CONSUMERS);
        }
        barriers_begin();
    }

    __device__ uint8_t* stage(const Turn& turn) const { return room + turn.stage * STAGE_BYTES; }

    // Brings a tile's weights and, in boxes, its rows, which lie one after the other; by WARPS
    // warps, a lane for each copy.
    template <int WARPS>
    __device__ __forceinline__ void bring(const Job& job, const TensorMap* x, const Tile& tile,
                                          int apart, int warp, Turn& turn) const {
        constexpr int MINE = STRIPS / WARPS;
        const int lane = threadIdx.x % 32, strip = warp * MINE + lane;
        const int boxes = BOXES ? (tile.count + BOX - 1) / BOX : 0;
        // The last warp has the first box of the block.
        const int nth = (lane - MINE + 1) * WARPS - 1 - warp;
        const int box = SHARES ? nth * SHARERS + cluster_rank() : nth;
        const uint8_t* from = weights_of(job, tile, apart, min(strip, STRIPS - 1));
        for (int unit = tile.begin; unit < tile.end; ++unit, from += Format::BYTES) {
            barriers.empty[turn.stage].wait(turn.parity ^ 1);
            Barrier& full = barriers.full[turn.stage];
            if (warp == 0 && lane == 0) {
                full.expect(STRIPS * Format::BYTES + boxes * BOX * ROW_BYTES);
            }
            __syncwarp();
            if (lane < MINE) {
                uint8_t* to = stage(turn) + WEIGHTS_AT + strip * Format::BYTES;
                copy_bulk(to, from, Format::BYTES, full);
            } else if (BOXES && box < boxes) {
                uint8_t* to = stage(turn) + box * BOX * ROW_BYTES;
                const int col = unit * UNIT_INPUTS, row = tile.first + box * BOX;
                if constexpr (SHARES) {
                    copy_box_to((1 << SHARERS) - 1, to, *x, col, row, full);
                } else {
                    copy_box(to, *x, col, row, full);
                }
            }
            turn.next(STAGES);
        }
    }

    // Where the weights of the nth of STRIPS strips are. The second half of them begins `apart`
    // strips after the first one; 0: where that ends.
    static __device__ __forceinline__ const uint8_t* weights_of(const Job& job, const Tile& tile,
                                                                int apart, int nth) {
        const int all = (job.outputs + UNIT_OUTPUTS - 1) / UNIT_OUTPUTS;
        const bool second = apart > 0 && nth >= STRIPS / 2;
        const int strip = min(tile.output / UNIT_OUTPUTS + (second ? nth - STRIPS / 2 : nth),
                              all - 1) + (second ? apart : 0);
        const size_t units = static_cast<size_t>(strip) * job.units() + tile.begin;
        return tile.weight + units * Format::BYTES;
    }

    // By each warp that multiplies, once it has done so with a stage: to all who bring some of it.
    __device__ __forceinline__ void release(Turn& turn) const {
        const int lane = threadIdx.x % 32;
        if constexpr (SHARES) {
            if (lane < SHARERS) {
                barriers.empty[turn.stage].arrive_at(lane);
            }
        } else if (lane == 0) {
            barriers.empty[turn.stage].arrive();
        }
        turn.next(STAGES);
    }

    // Brings a tile's rows, by a warp of which `mine` is the thread's place among all that do.
    __device__ __forceinline__ void bring_rows(const Job& job, const Tile& tile, int mine,
                                               Turn& turn) const {
        const int row = mine / 8, col = mine % 8 * 8;
        auto places = reinterpret_cast<uint32_t*>(barriers.from[row]);
        __syncwarp();
        for (int pass = mine % 8; pass < PASSES; pass += 8) {
            // Rows that are not there are copies of another: what comes of them is not stored.
            const int which = tile.first + min(row + pass * EACH, tile.count - 1);
            places[pass] = (job.rows ? job.rows[which] : which) * (job.inputs / 8);
        }
        __syncwarp();
        const int needed = (tile.count + 15) / 16 * 16;
        for (int unit = tile.begin; unit < tile.end; ++unit) {
            barriers.empty[turn.stage].wait(turn.parity ^ 1);
            bring_unit(job, unit * UNIT_INPUTS + col, row, needed, stage(turn));
            copies_arrive(barriers.full[turn.stage]);
            turn.next(STAGES);
        }
    }

    // Sixteen bytes each of a thread's rows. Where they are is known ahead of the copies.
    __device__ __forceinline__ void bring_unit(const Job& job, int col, int row, int needed,
                                               uint8_t* stage) const {
        // Beyond the last input, weights are zero, but rows must still be numbers.
        const bool valid = col < job.inputs;
        const bf16* from = job.x + (valid ? col : 0);
        const uint4* places = barriers.from[row];
        uint4 next = places[0];
#pragma unroll
        for (int batch = 0; batch < PASSES / 4; ++batch) {
            const uint32_t place[4] = {next.x, next.y, next.z, next.w};
            if (batch + 1 < PASSES / 4) {
                next = places[batch + 1];
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int at = row + (batch * 4 + i) * EACH;
                if (at < needed) {
                    copy_16(stage + at * ROW_BYTES + (threadIdx.x ^ at) % 8 * 16,
                            from + place[i] * size_t{8}, valid);
                }
            }
        }
    }
};

#endif
