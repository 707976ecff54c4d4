// The choices of many positions in the order of experts, by many blocks: each counts those of its own
// positions, then knows from all counts where they go.
#include "device/place.cuh"
#include "ptx/order.cuh"

extern __shared__ uint32_t room[];

// Grid: groups of positions.
extern "C" __global__ void __launch_bounds__(256) route_count(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    const Order order(p, blockIdx.x, room);
    order.mark();
    for (int expert = threadIdx.x; expert < p.num_held; expert += blockDim.x) {
        p.counts[blockIdx.x * p.num_held + expert] = order.count(expert);
    }
}

// Grid: groups of positions.
extern "C" __global__ void __launch_bounds__(256) route_place(const __grid_constant__ Route p) {
    __shared__ int earlier[EXPERTS_MAX];
    release_next();
    wait_for_previous();
    const Order order(p, blockIdx.x, room);
    for (int expert = threadIdx.x; expert < p.num_held; expert += blockDim.x) {
        int sum = 0;
        for (int group = 0; group < gridDim.x; ++group) {
            if (group == blockIdx.x) {
                earlier[expert] = sum;
            }
            sum += p.counts[group * p.num_held + expert];
        }
        order.starts[expert] = sum;
    }
    order.mark();
    const int num_tiles = order.sum_up();
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        *p.num_tiles = num_tiles;
    }
    order.place([](int expert) { return earlier[expert]; });
}
