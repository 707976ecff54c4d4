// Weights of chance, made where they are needed, for measurements.
#include <type_traits>

#include "device/weight.cuh"
#include "ptx/order.cuh"

struct Fill {
    uint8_t* units;
    uint64_t seed;
    float reach;  // about the largest weight
};

// Sixty-four bits of chance (Steele et al., "Fast splittable pseudorandom number generators", 2014).
__device__ uint64_t chance(uint64_t seed, uint64_t at) {
    uint64_t x = seed + (at + 1) * 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// Half of a word of scales, at any place of a unit: what makes codes of chance weights of the right
// size, a quarter more or less.
template <class Format>
__device__ uint16_t scale(float reach, int at, uint64_t dice) {
    const float size = reach * (0.75f + static_cast<float>(dice >> 40) / 33554432.0f);
    if constexpr (std::is_same<Format, Fp8Weight>::value) {
        // Codes of chance are 93 on average, as a root of squares.
        uint32_t exponent = 127 + 120 + ilogbf(reach / 161.0f);
        return static_cast<uint16_t>(exponent * 0x0101u);
    } else if constexpr (std::is_same<Format, Q4_1Weight>::value) {
        float value = at % 2 == 0 ? ldexpf(reach / 7.5f, Format::LARGER) : -size;
        return __bfloat16_as_ushort(__float2bfloat16_rn(value));
    } else {
        // Codes around zero of four, six and eight bits: the highest bit is 2^-126.
        return __bfloat16_as_ushort(__float2bfloat16_rn(size * 0x1p126f));
    }
}

// A unit for each block.
template <class Format>
__device__ void fill(const Fill& p) {
    const uint64_t first = static_cast<uint64_t>(blockIdx.x) * Format::BYTES / 4;
    auto words = reinterpret_cast<uint32_t*>(p.units) + first;
    for (int i = threadIdx.x; i < Format::BYTES / 4; i += blockDim.x) {
        const uint64_t dice = chance(p.seed, first + i);
        if constexpr (std::is_same<Format, Bf16Weight>::value) {
            float low = static_cast<float>(dice & 0xffffff) / 8388608.0f - 1.0f;
            float high = static_cast<float>(dice >> 40) / 8388608.0f - 1.0f;
            words[i] = pair(low * p.reach, high * p.reach);
        } else if (i * 4 < Format::SCALES) {
            words[i] = static_cast<uint32_t>(dice >> 32);
        } else {
            words[i] = scale<Format>(p.reach, 0, dice) |
                       static_cast<uint32_t>(scale<Format>(p.reach, 1, dice)) << 16;
        }
    }
}

#define FILL(NAME, FORMAT)                                      \
    extern "C" __global__ void __launch_bounds__(128)           \
        fill_##NAME(const __grid_constant__ Fill p) {           \
        wait_for_previous();                                    \
        fill<FORMAT>(p);                                        \
    }
FOR_EACH_FORMAT(FILL)
