// A router for few positions: the scores of all experts, and whom they send where, in one kernel.
#include "device/choose.cuh"
#include "device/skinny.cuh"
#include "ptx/cluster.cuh"

struct Router {
    Job job;
    Normed normed;  // what `x` will be, for few rows
    Route route;
};

extern __shared__ __align__(1024) uint8_t room[];

// Blocks of a kernel: each computes the scores of a tile of experts, if there is one.
constexpr int BLOCKS = 8;
constexpr int ROWS_MAX = 8;
constexpr int SCORES_MAX = BLOCKS * UNIT_OUTPUTS;

// The first block is given all scores, and chooses.
template <class Format, bool NORM>
__device__ __forceinline__ void score_and_choose(const Router& p) {
    __shared__ float scores[ROWS_MAX * SCORES_MAX];
    cluster_arrive();
    release_next();
    const Job& job = p.job;
    const int tile = blockIdx.x;
    if (tile * UNIT_OUTPUTS < job.outputs) {
        const Sums sums = Resident<Format, NORM>::run(job, p.normed, tile, room);
        cluster_wait();
        for (int i = threadIdx.x; i < job.count * UNIT_OUTPUTS; i += blockDim.x) {
            const int row = i / UNIT_OUTPUTS, output = tile * UNIT_OUTPUTS + i % UNIT_OUTPUTS;
            if (output < job.outputs) {
                const float value = sums.total(blockDim.x / 32, row, i % UNIT_OUTPUTS);
                store_to_first(scores + row * job.outputs + output, value);
            }
        }
        __syncwarp();
    } else {
        wait_for_previous();
        cluster_wait();
    }
    cluster_arrive();
    cluster_wait();
    if (tile == 0) {
        route_few(p.route, scores, reinterpret_cast<uint32_t*>(room));
    }
}

// Grid: a cluster; a block has a warp for each slice.
#define ALL(NAME, FORMAT)                                                   \
    extern "C" __global__ void CLUSTER_OF(8) __launch_bounds__(256)         \
        router_##NAME(const __grid_constant__ Router p) {                   \
        score_and_choose<FORMAT, false>(p);                                 \
    }                                                                       \
    extern "C" __global__ void CLUSTER_OF(8) __launch_bounds__(256)         \
        router_normed_##NAME(const __grid_constant__ Router p) {            \
        score_and_choose<FORMAT, true>(p);                                  \
    }
FOR_EACH_FORMAT(ALL)
