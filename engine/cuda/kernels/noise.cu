// Makes the bytes of weights that nobody trained, as a file would hold them: what a block is, is a
// function of a key and of the block's place, and is computed in whole numbers alone.
#include <cstdint>

#include "ptx/order.cuh"

constexpr int THREADS = 128;
constexpr int BLOCK_BYTES_MAX = 210;

// Where each block is in the tensor, and where its bytes go, one row after the other.
struct Spread {
    uint8_t* raw;
    uint64_t key;
    uint64_t first;   // place of the first row's first block
    uint64_t stride;  // from one row's first block to the next one's
    uint64_t blocks;  // of all rows
    uint64_t across;  // blocks of a row

    __device__ uint64_t place(uint64_t block) const {
        return first + block / across * stride + block % across;
    }
};

enum class Scale : uint32_t { SIGNED, WITH_MINIMUM, EXPONENT };
enum class Twins : uint32_t { NONE, NIBBLES, SIX_BITS };

struct Blocks {
    Spread spread;
    uint32_t bytes;
    Scale scale;
    uint32_t scale_at;       // where the scale is
    uint32_t low, high;      // bits of scale and minimum; an exponent and its chance
    Twins twins;
    uint32_t twins_at;       // where they are, or how many bytes they take
};

// The index-th word of a key: SplitMix64.
__device__ uint64_t random_word(uint64_t key, uint64_t index) {
    uint64_t word = key + (index + 1) * 0x9e3779b97f4a7c15ull;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
    return word ^ (word >> 31);
}

__device__ void put_half(uint8_t* to, uint32_t bits) {
    to[0] = static_cast<uint8_t>(bits);
    to[1] = static_cast<uint8_t>(bits >> 8);
}

__device__ void complete(const Blocks& p, uint8_t* block) {
    if (p.twins == Twins::NIBBLES) {
        for (uint32_t i = 0; i < p.twins_at; ++i) {
            block[i] = static_cast<uint8_t>((block[i] & 7 | 8) * 0x11);
        }
    } else if (p.twins == Twins::SIX_BITS) {
        uint8_t* at = block + p.twins_at;
        for (int i = 0; i < 4; ++i) {
            at[4 + i] = at[i];
            at[8 + i] = static_cast<uint8_t>((at[8 + i] & 15) * 0x11);
        }
    }
    uint8_t* scale = block + p.scale_at;
    if (p.scale == Scale::SIGNED) {
        put_half(scale, p.low | (scale[1] & 0x80u) << 8);
    } else if (p.scale == Scale::WITH_MINIMUM) {
        put_half(scale, p.low);
        put_half(scale + 2, p.high);
    } else {
        scale[0] = static_cast<uint8_t>(p.low + (scale[0] < p.high));
    }
}

// A thread makes a block; all are then written together.
extern "C" __global__ void __launch_bounds__(THREADS) noise_blocks(
    const __grid_constant__ Blocks p) {
    __shared__ __align__(16) uint8_t made[THREADS * BLOCK_BYTES_MAX];
    wait_for_previous();
    const uint64_t first = static_cast<uint64_t>(blockIdx.x) * THREADS;
    const uint64_t left = p.spread.blocks - first;
    const uint32_t count = left < THREADS ? static_cast<uint32_t>(left) : THREADS;
    if (threadIdx.x < count) {
        uint8_t* block = made + threadIdx.x * p.bytes;
        uint64_t index = p.spread.place(first + threadIdx.x) * ((p.bytes + 7) / 8);
        for (uint32_t i = 0; i < p.bytes; i += 8, ++index) {
            uint64_t word = random_word(p.spread.key, index);
            for (uint32_t j = i; j < min(i + 8, p.bytes); ++j, word >>= 8) {
                block[j] = static_cast<uint8_t>(word);
            }
        }
        complete(p, block);
    }
    __syncthreads();
    // A multiple of sixteen bytes in.
    uint8_t* to = p.spread.raw + first * p.bytes;
    const uint32_t bytes = count * p.bytes, whole = bytes / 16 * 16;
    for (uint32_t i = threadIdx.x * 16; i < whole; i += THREADS * 16) {
        *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(made + i);
    }
    for (uint32_t i = whole + threadIdx.x; i < bytes; i += THREADS) {
        to[i] = made[i];
    }
}

// The bits of the element that each random byte stands for.
struct Plain {
    Spread spread;
    uint32_t values[256];
};

// A thread makes eight elements, which begin at a multiple of eight.
template <class Bits>
__device__ void plain(const Plain& p) {
    constexpr int EACH = 8;
    __shared__ Bits values[256];
    for (int i = threadIdx.x; i < 256; i += THREADS) {
        values[i] = static_cast<Bits>(p.values[i]);
    }
    __syncthreads();
    wait_for_previous();
    const uint64_t first = (static_cast<uint64_t>(blockIdx.x) * THREADS + threadIdx.x) * EACH;
    if (first >= p.spread.blocks) {
        return;
    }
    uint64_t place = p.spread.place(first), col = first % p.spread.across;
    uint64_t drawn = place / 8, word = random_word(p.spread.key, drawn);
    __align__(16) Bits made[EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        if (place / 8 != drawn) {
            drawn = place / 8, word = random_word(p.spread.key, drawn);
        }
        made[i] = values[word >> place % 8 * 8 & 255];
        ++place;
        if (++col == p.spread.across) {
            col = 0, place += p.spread.stride - p.spread.across;
        }
    }
    Bits* to = reinterpret_cast<Bits*>(p.spread.raw) + first;
    if (first + EACH <= p.spread.blocks) {
        for (int i = 0; i < EACH; i += 16 / sizeof(Bits)) {
            *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(made + i);
        }
    } else {
        for (int i = 0; first + i < p.spread.blocks; ++i) {
            to[i] = made[i];
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) noise_16(const __grid_constant__ Plain p) {
    plain<uint16_t>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) noise_32(const __grid_constant__ Plain p) {
    plain<uint32_t>(p);
}
