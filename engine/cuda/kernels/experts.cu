// Products with the weight of the expert that each choice is of, and what comes before and after:
// the sum of a position's experts.
#include "device/experts.cuh"
#include "device/skinny.cuh"
#include "device/tiled.cuh"
#include "ptx/wgmma.cuh"

// Units that a block's warps fetch ahead: so few that many blocks fit beside each other.
template <class Format>
constexpr int AHEAD = Format::BYTES > 1024 ? 2 : 4;

__device__ __forceinline__ bool part(const Experts& p, Job& job) {
    release_next();
    wait_for_previous();
    if (blockIdx.y >= *p.num_tiles) {
        return false;
    }
    job = p.of(p.tiles[blockIdx.y]);
    return true;
}

extern __shared__ __align__(1024) uint8_t room[];

// Grid: tiles of outputs, tiles of choices. A block has a warp for each slice.
#define SKINNY(NAME, FORMAT)                                                        \
    extern "C" __global__ void __launch_bounds__(256)                               \
        experts_skinny_1_##NAME(const __grid_constant__ Experts p) {                \
        Job job;                                                                    \
        if (part(p, job)) {                                                         \
            const int tile = blockIdx.x;                                            \
            store(job, tile, Streamed<FORMAT, 1, AHEAD<FORMAT>, false>::run(job, {tile}, room)); \
        }                                                                           \
    }
// Grid: groups of as many tiles of outputs as warps, tiles of choices.
#define TILED(NAME, FORMAT, NT, WARPS)                                        \
    extern "C" __global__ void __launch_bounds__(32 * WARPS)                  \
        experts_tiled_##NT##_##NAME(const __grid_constant__ Experts p) {      \
        Job job;                                                              \
        if (part(p, job)) {                                                   \
            Tiled<FORMAT, NT, WARPS>::run(job, blockIdx.x * WARPS, room, {}, false); \
        }                                                                     \
    }
#if HAS_WGMMA
// Others are in `pipelined.cu`.
#define ALL(NAME, FORMAT) SKINNY(NAME, FORMAT)
#else
#define ALL(NAME, FORMAT)       \
    SKINNY(NAME, FORMAT)        \
    TILED(NAME, FORMAT, 2, 4)   \
    TILED(NAME, FORMAT, 4, 4)   \
    TILED(NAME, FORMAT, 8, 4)   \
    TILED(NAME, FORMAT, 16, 8)
#endif
FOR_EACH_FORMAT(ALL)

// What experts give counts as bf16, whoever computed it and however it is held.
struct Combine {
    const void* x;         // [choices, width]
    const int* places;     // [positions, chosen] the row of x of each choice, less than none
                           // where another rank has it; the weightiest first
    const float* weights;  // [positions, chosen]
    float* out;            // [positions, width]
    int width, chosen;
    int half;              // x is bf16
    int positions;
};

template <class Choice>
__device__ __forceinline__ void sum_choices(const Combine& p) {
    const size_t position = blockIdx.x;
    const int col = blockIdx.y * 256 + threadIdx.x;
    const int* places = p.places + position * p.chosen;
    const float* weights = p.weights + position * p.chosen;
    if (col < p.width) {
        float sum = 0.0f;
#pragma unroll 8
        for (int i = 0; i < p.chosen; ++i) {
            const int place = places[i];
            const Choice* choice =
                static_cast<const Choice*>(p.x) + static_cast<size_t>(place) * p.width;
            const float x = place < 0 ? 0.0f : rounded(static_cast<float>(choice[col]));
            sum = fmaf(weights[i], x, sum);
        }
        p.out[position * p.width + col] = sum;
    }
}

// Grid: positions, groups of 256 columns.
extern "C" __global__ void __launch_bounds__(256) combine(const __grid_constant__ Combine p) {
    release_next();
    wait_for_previous();
    if (p.half) {
        sum_choices<bf16>(p);
    } else {
        sum_choices<float>(p);
    }
}

struct AddGated {
    const float* x;     // [rows, width]
    const float* gate;  // [rows]
    float* out;         // [rows, width]
    int width;
};

// A block for each row.
extern "C" __global__ void __launch_bounds__(256) add_gated(const __grid_constant__ AddGated p) {
    release_next();
    wait_for_previous();
    const size_t row = blockIdx.x;
    const float share = 1.0f / (1.0f + expf(-p.gate[row]));
    for (int col = threadIdx.x; col < p.width; col += 256) {
        size_t at = row * p.width + col;
        p.out[at] = fmaf(p.x[at], share, p.out[at]);
    }
}
