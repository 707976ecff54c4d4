// Products with a weight that every row meets.
#include "device/skinny.cuh"
#include "device/tiled.cuh"
#include "ptx/wgmma.cuh"

struct Linear {
    Job job;  // of all rows
    Shared shared;
};

template <int ROWS>
__device__ __forceinline__ Job part(const Job& all) {
    Job job = all;
    job.first = blockIdx.x * ROWS;
    job.count = min(ROWS, all.count - job.first);
    return job;
}

extern __shared__ __align__(1024) uint8_t room[];

// Grid: groups of rows, tiles of outputs. A block has a warp for each slice.
#define SKINNY(NAME, FORMAT)                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                      \
        linear_skinny_1_##NAME(const __grid_constant__ Linear p) {                         \
        release_next();                                                                    \
        const Job job = part<8>(p.job);                                                    \
        const int tile = blockIdx.y;                                                       \
        store(job, tile, Streamed<FORMAT, 1, 4, true>::run(job, {tile}, room));            \
    }
// Grid: groups of rows, groups of as many tiles of outputs as warps, groups of slices.
#define TILED(NAME, FORMAT, NT, WARPS)                                                       \
    extern "C" __global__ void __launch_bounds__(32 * WARPS)                                 \
        linear_tiled_##NT##_##NAME(const __grid_constant__ Linear p) {                       \
        release_next();                                                                      \
        Tiled<FORMAT, NT, WARPS>::run(part<8 * NT>(p.job), blockIdx.y * WARPS, room,         \
                                      p.shared, true);                                       \
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
