// What several devices have, brought together: one after the other in memory, the first one's
// first.
#include <cstddef>

#include "ptx/order.cuh"

struct Sum {
    const float* parts;  // [ranks, count]
    float* out;          // [count]
    size_t count;
    int ranks;
};

// A thread for each element. Every rank adds in the same order, and so has the same bits.
extern "C" __global__ void __launch_bounds__(256) ranks_sum(const __grid_constant__ Sum p) {
    release_next();
    wait_for_previous();
    const size_t at = blockIdx.x * size_t{256} + threadIdx.x;
    if (at < p.count) {
        float sum = p.parts[at];
        for (int rank = 1; rank < p.ranks; ++rank) {
            sum += p.parts[rank * p.count + at];
        }
        p.out[at] = sum;
    }
}

struct Join {
    const float* parts;  // [ranks, rows, width]
    float* out;          // [rows, ranks, width]
    int rows, width, ranks;
};

// Grid: groups of 256 columns, rows, ranks.
extern "C" __global__ void __launch_bounds__(256) ranks_join(const __grid_constant__ Join p) {
    release_next();
    wait_for_previous();
    const int col = blockIdx.x * 256 + threadIdx.x;
    const size_t row = blockIdx.y, rank = blockIdx.z;
    if (col < p.width) {
        p.out[(row * p.ranks + rank) * p.width + col] =
            p.parts[(rank * p.rows + row) * p.width + col];
    }
}
