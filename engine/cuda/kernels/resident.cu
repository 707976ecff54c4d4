// Products of at most eight rows with a weight whose tiles lie in shared memory as a whole.
#include "device/skinny.cuh"

struct Few {
    Job job;          // of all rows
    Normed normed;    // what `x` will be, for few rows
    float* residual;  // what is added to what, from the weight's first output on; null: nothing
};

extern __shared__ __align__(1024) uint8_t room[];

template <class Format, bool NORM>
__device__ __forceinline__ void product(const Few& p) {
    release_next();
    Before before(p.job, p.residual, blockIdx.x);
    const Sums sums = Resident<Format, NORM>::run(p.job, p.normed, blockIdx.x, room, &before);
    store(p.job, blockIdx.x, sums, p.residual, &before);
}

// Grid: tiles of outputs. A block has a warp for each slice.
#define ALL(NAME, FORMAT)                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                 \
        resident_##NAME(const __grid_constant__ Few p) {                              \
        product<FORMAT, false>(p);                                                    \
    }                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                 \
        resident_normed_##NAME(const __grid_constant__ Few p) {                       \
        product<FORMAT, true>(p);                                                     \
    }
FOR_EACH_FORMAT(ALL)
