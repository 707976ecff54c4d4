// Takes a step's layout out of the host's memory, to where the step's other kernels expect it.
#include <cstdint>

#include "ptx/order.cuh"

struct Part {
    uint32_t* to;
    int from;   // words from the start
    int words;
};

struct Stage {
    const uint32_t* packed;  // pinned host memory
    const uint32_t* seats;   // the token last drawn at each
    Part tokens;             // those with the highest bit are of the seat that the rest names
    Part parts[6];
};

constexpr uint32_t INHERITED = 1u << 31;

extern "C" __global__ void __launch_bounds__(256) stage(const __grid_constant__ Stage p) {
    release_next();
    wait_for_previous();
    const int first = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
    for (int i = first; i < p.tokens.words; i += step) {
        uint32_t token = p.packed[p.tokens.from + i];
        p.tokens.to[i] = token & INHERITED ? p.seats[token & ~INHERITED] : token;
    }
    for (int part = 0; part < 6; ++part) {
        for (int i = first; i < p.parts[part].words; i += step) {
            p.parts[part].to[i] = p.packed[p.parts[part].from + i];
        }
    }
}
