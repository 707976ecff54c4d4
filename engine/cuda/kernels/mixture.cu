// The experts of few positions: gate and up with the activation, then down with the sum of each
// position's experts.
#include "device/experts.cuh"
#include "device/skinny.cuh"

extern __shared__ __align__(1024) uint8_t room[];

// Units of each tile that go ahead: so few that three blocks fit beside each other.
template <class Format>
constexpr int AHEAD = Format::BYTES > 1024 ? 1 : 2;

// A block computes sixteen outputs of gate and those of up that belong to them.
template <class Format>
__device__ __forceinline__ void gate_and_up(const GatedExperts& p) {
    wait_for_previous();
    // What comes next may look at the routes from here on: they are older than this.
    release_next();
    const int4 tile = p.experts.tiles[blockIdx.y];
    if (blockIdx.y >= *p.experts.num_tiles) {
        return;
    }
    const Job job = p.experts.of(tile);
    const int width = job.outputs / 2;
    const int gate = blockIdx.x, up = gate + width / UNIT_OUTPUTS;
    const Sums gates = Streamed<Format, 2, AHEAD<Format>, false>::run(job, {gate, up}, room);
    const int warps = blockDim.x / 32;
    const Sums ups = {gates.room + warps * job.count * UNIT_OUTPUTS, job.count};
    for (int i = threadIdx.x; i < job.count * UNIT_OUTPUTS; i += blockDim.x) {
        const int row = i / UNIT_OUTPUTS, output = i % UNIT_OUTPUTS;
        p.out[static_cast<size_t>(job.first + row) * width + gate * UNIT_OUTPUTS + output] =
            gated(gates.total(warps, row, output), ups.total(warps, row, output), p.gelu);
    }
}

struct Summed {
    Experts experts;       // of choices; `out`: [positions, outputs]
    const int* places;     // [positions, chosen]; see `combine`
    const float* weights;  // [positions, chosen]
    float* residual;       // [positions, outputs]: the sums are added to it; null: there is none
    int positions, chosen;
    int rows;              // that a warp has room for
    int rooms;             // for rows: one, or one for those that come next too
    int early;             // whether the kernel before only reads the routes, and those before ended
};

// A tile of choices.
struct Tile {
    const uint8_t* weight;  // their expert's
    int first, count;
};

// What a warp of a block that sums has in shared memory: a tile's weights in parts, which are fetched
// anew for the next tile as soon as they are used, and the rows of both tiles.
template <class Format>
struct Warp {
    // Parts that are under way.
    static constexpr int PARTS = 4;

    const Summed& p;
    int units, each;  // of a tile, of a part
    uint8_t* weight;

    __device__ Warp(const Summed& p, uint8_t* room)
        : p(p), units(p.experts.job.units()), each((units + PARTS - 1) / PARTS),
          weight(room + threadIdx.x / 32 * bytes(p)) {}

    static __device__ int bytes(const Summed& p) {
        const int units = p.experts.job.units();
        return units * Format::BYTES + p.rooms * Rows(nullptr, units).bytes(p.rows);
    }

    __device__ Rows rows(int which) const {
        uint8_t* first = weight + units * Format::BYTES;
        return Rows(first + which * Rows(nullptr, units).bytes(p.rows), units);
    }

    __device__ Tile tile(int which) const {
        const int4 tile = __ldcg(p.experts.tiles + which);
        const size_t first = static_cast<size_t>(blockIdx.x) * units * Format::BYTES;
        return {p.experts.job.weight + tile.x * p.experts.expert_bytes + first, tile.y, tile.z};
    }

    // A part of the weights.
    __device__ void fetch(const Tile& tile, int part) const {
        const int begin = min(units, part * each), end = min(units, begin + each);
        copy_once(weight + begin * Format::BYTES, tile.weight + begin * Format::BYTES,
                  (end - begin) * Format::BYTES);
    }

    // As many rows as there is room for.
    __device__ void bring(const Tile& tile, int which) const {
        for (int row = 0; row < min(tile.count, p.rows); ++row) {
            rows(which).bring_row(row, p.experts.job, tile.first + row, 0, units);
        }
    }

    // Some units of one slice.
    __device__ void add(const bf16* inputs, int begin, int end, float (&sum)[1][4]) const {
#pragma unroll 1
        for (int unit = begin; unit < end; ++unit) {
            typename Format::Unit loaded[1] = {Format::template load<true>(
                weight + unit * Format::BYTES, threadIdx.x % 32)};
            add_units<Format, 1>(loaded, inputs + unit * UNIT_INPUTS, sum);
        }
    }

    // Choices whose rows are in the room of `which`, while the next ones' rows and weights come.
    __device__ void multiply(const Tile& tile, int which, const Tile& next, float* out) const {
        const int slice = p.experts.job.slice;
        const bf16* inputs = rows(which).lane(tile.count);
        float total[4] = {}, sum[1][4] = {};
        for (int part = 0; part < PARTS; ++part) {
            copies_wait<PARTS - 1>();
            __syncwarp();
            const int end = min(units, (part + 1) * each);
            for (int unit = part * each; unit < end;) {
                const int slice_end = min(units, (unit / slice + 1) * slice);
                const int to = min(end, slice_end);
                add(inputs, unit, to, sum);
                unit = to;
                if (to == slice_end) {
                    add_to(total, sum[0]);
                }
            }
            __syncwarp();
            fetch(next, part);
            if (part == 0) {
                bring(next, 1 - which);
            }
            copies_commit();
        }
        leave(tile, total, out);
    }

    // Choices whose weights are there, as many as there is room for. Two slices go side by side, so
    // that their products don't wait for each other.
    __device__ void multiply_at_once(const Tile& tile, int which, float* out) const {
        const int slice = p.experts.job.slice;
        const bf16* inputs = rows(which).lane(min(tile.count, p.rows));
        float total[4] = {};
        for (int first = 0; first < units; first += 2 * slice) {
            float sums[2][1][4] = {};
            for (int unit = first; unit < min(units, first + slice); ++unit) {
                if (unit + slice < units) {
                    add_both(inputs, unit, unit + slice, sums);
                } else {
                    add(inputs, unit, unit + 1, sums[0]);
                }
            }
            add_to(total, sums[0][0]);
            // Of a slice that is not there, nothing.
            add_to(total, sums[1][0]);
        }
        leave(tile, total, out);
    }

    __device__ __forceinline__ void add_both(const bf16* inputs, int first, int second,
                                             float (&sums)[2][1][4]) const {
        const int lane = threadIdx.x % 32;
        const auto one = Format::template load<true>(weight + first * Format::BYTES, lane);
        const auto other = Format::template load<true>(weight + second * Format::BYTES, lane);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint32_t a[4], b[2][4];
            load_tiles(b[0], inputs + first * UNIT_INPUTS + half * 32);
            load_tiles(b[1], inputs + second * UNIT_INPUTS + half * 32);
#pragma unroll
            for (int step = 0; step < 2; ++step) {
                Format::operand(one, half * 2 + step, a);
                mma_bf16(sums[0][0], a, b[0][step * 2], b[0][step * 2 + 1]);
                Format::operand(other, half * 2 + step, a);
                mma_bf16(sums[1][0], a, b[1][step * 2], b[1][step * 2 + 1]);
            }
        }
    }

    static __device__ __forceinline__ void add_to(float (&total)[4], float (&sum)[4]) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            total[i] += sum[i];
            sum[i] = 0.0f;
        }
    }

    __device__ __forceinline__ void leave(const Tile& tile, const float (&total)[4],
                                          float* out) const {
        const int lane = threadIdx.x % 32;
        out += tile.first * UNIT_OUTPUTS;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = lane % 4 * 2 + i % 2;
            if (row < min(tile.count, p.rows)) {
                out[row * UNIT_OUTPUTS + lane / 4 + i / 2 * 8] = total[i];
            }
        }
    }
};

// A block computes sixteen outputs of all choices, a tile of choices by a warp, then what each
// position's experts give together.
template <class Format>
__device__ __forceinline__ void down_and_sum(const Summed& p) {
    const Experts& experts = p.experts;
    const Warp<Format> mine(p, room);
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const int choices = p.positions * p.chosen;
    auto outputs = reinterpret_cast<float*>(room + warps * Warp<Format>::bytes(p));
    auto places = reinterpret_cast<int*>(outputs + choices * UNIT_OUTPUTS);
    auto weights = reinterpret_cast<float*>(places + choices);
    if (!p.early) {
        wait_for_previous();
    }
    const int num_tiles = __ldcg(experts.num_tiles);
    Tile tile = {};
    if (warp < num_tiles) {
        tile = mine.tile(warp);
        for (int part = 0; part < Warp<Format>::PARTS; ++part) {
            mine.fetch(tile, part);
        }
    }
    for (int i = threadIdx.x; i < choices; i += blockDim.x) {
        places[i] = __ldcg(p.places + i), weights[i] = __ldcg(p.weights + i);
    }
    // Asked for before it is wanted.
    Before before(experts.job, p.residual, blockIdx.x);
    before.ask(p.positions);
    if (p.early) {
        wait_for_previous();
    }
    mine.bring(tile, 0);
    int which = 0;
    for (int nth = warp; nth < num_tiles; nth += warps, which = 1 - which) {
        const bool last = nth + warps >= num_tiles;
        bool wait = last || nth == warp;
        // Rows beyond those there is room for come when the others are done with.
        for (;;) {
            if (wait || tile.count > p.rows) {
                copies_commit();
                copies_wait<0>();
                __syncwarp();
            }
            if (tile.count <= p.rows && !last) {
                break;
            }
            mine.multiply_at_once(tile, which, outputs);
            tile.first += p.rows, tile.count -= p.rows;
            if (tile.count <= 0) {
                break;
            }
            __syncwarp();
            mine.bring(tile, which);
            wait = true;
        }
        if (!last) {
            const Tile next = mine.tile(nth + warps);
            mine.multiply(tile, which, next, outputs);
            tile = next;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < p.positions * UNIT_OUTPUTS; i += blockDim.x) {
        const int position = i / UNIT_OUTPUTS, output = i % UNIT_OUTPUTS;
        float sum = 0.0f;
#pragma unroll 8
        for (int n = position * p.chosen; n < (position + 1) * p.chosen; ++n) {
            const int place = places[n];
            const float x = place < 0 ? 0.0f : rounded(outputs[place * UNIT_OUTPUTS + output]);
            sum = fmaf(weights[n], x, sum);
        }
        Job all = experts.job;
        all.count = p.positions;
        all.store(position, blockIdx.x * UNIT_OUTPUTS + output, sum, p.residual, before.of(i));
    }
}

// Grid: tiles of gate's outputs, tiles of choices; a block has a warp for each slice.
// Grid: tiles of outputs; a block has as many warps as there is room for.
#define ALL(NAME, FORMAT)                                                   \
    extern "C" __global__ void __launch_bounds__(256)                       \
        expert_gated_##NAME(const __grid_constant__ GatedExperts p) {       \
        gate_and_up<FORMAT>(p);                                             \
    }                                                                       \
    extern "C" __global__ void __launch_bounds__(512, 2)               \
        expert_sum_##NAME(const __grid_constant__ Summed p) {               \
        release_next();                                                     \
        down_and_sum<FORMAT>(p);                                            \
    }
FOR_EACH_FORMAT(ALL)
