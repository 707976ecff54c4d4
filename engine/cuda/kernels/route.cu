// Which experts the positions of a step go to, and the choices in the order of experts. A rank of
// several has some of the experts, next to each other: only choices of these have a place.
#include "device/choose.cuh"
#include "device/place.cuh"
#include "ptx/order.cuh"

extern __shared__ uint32_t room[];

// A warp for each position; a block of four.
extern "C" __global__ void __launch_bounds__(128) route_choose(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    const int warp = threadIdx.x / 32, position = blockIdx.x * 4 + warp;
    if (position < p.positions) {
        auto choices = reinterpret_cast<Choice*>(room) + warp * p.chosen;
        choose(p, p.scores, position, choices, p.experts + position * p.chosen);
    }
}

// Sorts the choices of one group of positions, by one block.
extern "C" __global__ void __launch_bounds__(1024) route_sort(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    Order(p, 0, room).sort();
}

// Both, for few positions.
extern "C" __global__ void __launch_bounds__(1024)
    route_few_positions(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    route_few(p, p.scores, room);
}
