// Products of more than a few rows: with a weight that every row meets, and with the weight of the
// expert that each choice is of. Hopper's; others have tiles of `linear.cu` and `experts.cu`.
#include "device/experts.cuh"
#include "device/pipelined.cuh"

#if HAS_WGMMA

struct Product {
    Experts experts;  // without tiles: of all rows, with the one weight that there is
    Gate gate;
    int rows;         // of a tile, at most
    int half;         // whether what comes out is bf16, as what passes a gate always is
    TensorMap x;      // the job's, for boxes
};

struct Spread {
    const uint4* x;    // [positions, inputs]
    const int* rows;   // the position of each choice
    uint4* out;        // [choices, inputs]
    int count, width;  // of choices; of a row, in sixteens of bytes
};

// Rows of a block, a warp for each.
constexpr int SPREAD = 8;

// The rows of all choices, one after the other, as boxes need them. Grid: groups of rows.
extern "C" __global__ void __launch_bounds__(32 * SPREAD)
    spread(const __grid_constant__ Spread p) {
    // Sixteens that a lane has under way.
    constexpr int TOGETHER = 8;
    release_next();
    wait_for_previous();
    const int row = blockIdx.x * SPREAD + threadIdx.x / 32;
    if (row >= p.count) {
        return;
    }
    const uint4* from = p.x + static_cast<size_t>(p.rows[row]) * p.width;
    uint4* to = p.out + static_cast<size_t>(row) * p.width;
    for (int first = threadIdx.x % 32; first < p.width; first += 32 * TOGETHER) {
        uint4 parts[TOGETHER];
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) {
            parts[i] = first + 32 * i < p.width ? from[first + 32 * i] : uint4{};
        }
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) {
            if (first + 32 * i < p.width) {
                to[first + 32 * i] = parts[i];
            }
        }
    }
}

// Tiles of a product. Those of the same choices are neighbours, or those of the same weight. The
// SHARERS blocks of a cluster have tiles of the same rows beside each other; of those beyond the
// last output, nothing is stored.
template <int OUTPUTS, int SHARERS = 1>
struct Tiles {
    const Experts& p;
    int rows, groups, outputs, across, all;

    __device__ explicit Tiles(const Product& product)
        : p(product.experts), rows(product.rows), groups((p.job.count + rows - 1) / rows),
          outputs(product.gate == Gate::NONE ? OUTPUTS : OUTPUTS / 2),
          across((p.job.outputs + SHARERS * outputs - 1) / (SHARERS * outputs)),
          all(across * (p.tiles ? *p.num_tiles : groups)) {}
    // Whether rows are all that depends on the kernel before.
    __device__ bool early() const { return p.tiles == nullptr; }
    __device__ int begin() const { return blockIdx.x / SHARERS; }
    __device__ int step() const { return gridDim.x / SHARERS; }
    __device__ int count() const { return all; }
    __device__ Tile get(int nth) const {
        if (p.tiles) {
            const int4 tile = p.tiles[nth / across];
            return {p.job.weight + tile.x * p.expert_bytes, output(nth % across), tile.y, tile.z, 0,
                    p.job.units()};
        }
        const int first = nth % groups * rows;
        return {p.job.weight, output(nth / groups), first, min(rows, p.job.count - first), 0,
                p.job.units()};
    }
    // The first of the block's, of which of those that lie across.
    __device__ int output(int which) const {
        return (SHARERS > 1 ? which * SHARERS + cluster_rank() : which) * outputs;
    }
};

// One tile for each cluster, one slice of it for each block.
template <int OUTPUTS>
struct SharedTile : Tiles<OUTPUTS> {
    using Tiles<OUTPUTS>::Tiles;
    __device__ bool early() const { return true; }
    __device__ int begin() const { return 0; }
    __device__ int step() const { return 1; }
    __device__ int count() const { return 1; }
    __device__ Tile get(int) const {
        Tile tile = Tiles<OUTPUTS>::get(blockIdx.x / CLUSTER);
        tile.begin = min(tile.end, static_cast<int>(cluster_rank()) * this->p.job.slice);
        tile.end = min(tile.end, tile.begin + this->p.job.slice);
        return tile;
    }
};

extern __shared__ __align__(1024) uint8_t room[];

// Grid: as many blocks as there are tiles, or as there is room for.
#define WHOLE(NAME, FORMAT, ROWS, STAGES, EACH)                                             \
    extern "C" __global__ void __launch_bounds__(                                           \
        Pipelined<FORMAT, 2, ROWS, STAGES>::THREADS, EACH)                                  \
        whole_##ROWS##_##NAME(const __grid_constant__ Product p) {                          \
        release_next();                                                                     \
        if (p.experts.tiles) {                                                              \
            wait_for_previous();                                                            \
        }                                                                                   \
        Pipelined<FORMAT, 2, ROWS, STAGES>::run(p.experts.job, p.gate, Tiles<128>(p), room, \
                                                 nullptr, p.half);                          \
    }
// The same, where rows of x lie one after the other. Grid: an even number of blocks.
#define BOXES(NAME, FORMAT, ROWS, STAGES, EACH)                                             \
    extern "C" __global__ void __cluster_dims__(2) __launch_bounds__(                       \
        Pipelined<FORMAT, 2, ROWS, STAGES>::THREADS, EACH)                                  \
        boxes_##ROWS##_##NAME(const __grid_constant__ Product p) {                          \
        release_next();                                                                     \
        if (p.experts.tiles) {                                                              \
            wait_for_previous();                                                            \
        }                                                                                   \
        Pipelined<FORMAT, 2, ROWS, STAGES, false, 2>::run(                                  \
            p.experts.job, p.gate, Tiles<128, 2>(p), room, &p.x, p.half);                   \
    }
// Half as many outputs.
#define NARROW(NAME, FORMAT, ROWS, STAGES, EACH)                                            \
    extern "C" __global__ void __launch_bounds__(                                           \
        Pipelined<FORMAT, 1, ROWS, STAGES>::THREADS, EACH)                                  \
        narrow_##ROWS##_##NAME(const __grid_constant__ Product p) {                         \
        release_next();                                                                     \
        Pipelined<FORMAT, 1, ROWS, STAGES, false, (ROWS > 64 ? 1 : 0)>::run(                \
            p.experts.job, p.gate, Tiles<64>(p), room, &p.x);                               \
    }
// Grid: a cluster for each tile.
#define SHARED(NAME, FORMAT, ROWS, STAGES, EACH)                                            \
    extern "C" __global__ void __cluster_dims__(CLUSTER) __launch_bounds__(                 \
        Pipelined<FORMAT, 2, ROWS, STAGES, true>::THREADS, EACH)                            \
        shared_##ROWS##_##NAME(const __grid_constant__ Product p) {                         \
        release_next();                                                                     \
        Pipelined<FORMAT, 2, ROWS, STAGES, true>::run(p.experts.job, p.gate,                \
                                                      SharedTile<128>(p), room);            \
    }

// As in `src/pipelined.rs`.
#define ALL(NAME, FORMAT)             \
    WHOLE(NAME, FORMAT, 16, 4, 2)     \
    WHOLE(NAME, FORMAT, 32, 4, 2)     \
    WHOLE(NAME, FORMAT, 64, 8, 1)     \
    WHOLE(NAME, FORMAT, 192, 5, 1)    \
    BOXES(NAME, FORMAT, 128, 6, 1)    \
    BOXES(NAME, FORMAT, 192, 5, 1)    \
    NARROW(NAME, FORMAT, 16, 8, 2)    \
    NARROW(NAME, FORMAT, 32, 8, 2)    \
    NARROW(NAME, FORMAT, 128, 8, 1)   \
    SHARED(NAME, FORMAT, 16, 4, 3)    \
    SHARED(NAME, FORMAT, 32, 4, 2)    \
    SHARED(NAME, FORMAT, 64, 4, 2)    \
    SHARED(NAME, FORMAT, 128, 4, 1)
FOR_EACH_FORMAT(ALL)

#endif
