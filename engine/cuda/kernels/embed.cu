// Rows of a table of embeddings, and rows of activations picked out.
#include "device/weight.cuh"
#include "ptx/order.cuh"

struct Embed {
    const uint8_t* table;
    const uint32_t* tokens;
    float* out;
    float scale;
    int width;        // even
    int first, rows;  // of the part of the table that is here
};

// A block for each position. A thread gets a lane's share of a unit, in which the position's row has
// two neighbours at a time.
template <class Format>
__device__ void embed(const Embed& p) {
    release_next();
    wait_for_previous();
    const int row = static_cast<int>(p.tokens[blockIdx.x]) - p.first;
    if (row < 0 || row >= p.rows) {
        return;
    }
    const int units = (p.width + UNIT_INPUTS - 1) / UNIT_INPUTS;
    const uint8_t* units_of =
        p.table + static_cast<size_t>(row / UNIT_OUTPUTS) * units * Format::BYTES;
    const int half = row % UNIT_OUTPUTS / 8;
    float* out = p.out + static_cast<size_t>(blockIdx.x) * p.width;
    for (int i = threadIdx.x; i < units * 4; i += blockDim.x) {
        const int lane = row % 8 * 4 + i % 4;
        const uint8_t* unit = units_of + static_cast<size_t>(i / 4) * Format::BYTES;
        const auto share = Format::template load<false>(unit, lane);
#pragma unroll
        for (int step = 0; step < UNIT_STEPS; ++step) {
            uint32_t a[4];
            Format::operand(share, step, a);
#pragma unroll
            for (int index = 0; index < 8; index += 4) {
                const uint32_t both = half == 0 ? a[index / 2] : a[index / 2 + 1];
                const int col = i / 4 * UNIT_INPUTS + Place::input(step, lane, index);
                if (col < p.width) {
                    out[col] = __uint_as_float(both << 16) * p.scale;
                    out[col + 1] = __uint_as_float(both & 0xffff0000u) * p.scale;
                }
            }
        }
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
