// Rows of a table of embeddings, and rows of activations picked out.
#include "device/weight.cuh"
#include "ptx/order.cuh"

struct Embed {
    const uint8_t* table;
    const uint32_t* tokens;
    float* out;
    float scale;
    int width;
    int first, rows;  // of the part of the table that is here
};

// A block for each position.
template <class Format>
__device__ void embed(const Embed& p) {
    release_next();
    wait_for_previous();
    const int row = static_cast<int>(p.tokens[blockIdx.x]) - p.first;
    if (row < 0 || row >= p.rows) {
        return;
    }
    const size_t units = (p.width + UNIT_INPUTS - 1) / UNIT_INPUTS;
    const uint8_t* units_of = p.table + row / UNIT_OUTPUTS * units * Format::BYTES;
    for (int col = threadIdx.x; col < p.width; col += blockDim.x) {
        const uint8_t* unit = units_of + col / UNIT_INPUTS * Format::BYTES;
        float value = Format::value(unit, Place(row % UNIT_OUTPUTS, col % UNIT_INPUTS));
        p.out[static_cast<size_t>(blockIdx.x) * p.width + col] = value * p.scale;
    }
}

#define EMBED(NAME, FORMAT)                                             \
    extern "C" __global__ void __launch_bounds__(256)                   \
        embed_##NAME(const __grid_constant__ Embed p) {                 \
        embed<FORMAT>(p);                                               \
    }
FOR_EACH_FORMAT(EMBED)

struct Gather {
    const uint8_t* x;
    const uint32_t* rows;  // of which every `stride`th counts
    uint8_t* out;
    int stride;
    int row_bytes;  // a multiple of two
};

// A block for each row of `out`.
extern "C" __global__ void __launch_bounds__(256) gather(const __grid_constant__ Gather p) {
    release_next();
    wait_for_previous();
    auto from = p.x + static_cast<size_t>(p.rows[blockIdx.x * p.stride]) * p.row_bytes;
    auto to = p.out + static_cast<size_t>(blockIdx.x) * p.row_bytes;
    for (int i = threadIdx.x * 2; i < p.row_bytes; i += 512) {
        *reinterpret_cast<uint16_t*>(to + i) = *reinterpret_cast<const uint16_t*>(from + i);
    }
}
