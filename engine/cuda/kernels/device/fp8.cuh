// Weights as floats of eight bits (E4M3: sign, four bits of exponent, three of mantissa), with a power
// of two for each output and 64 inputs.
//
// Exponent and mantissa, moved to where bf16 has the end of its exponent and the beginning of its
// mantissa, are the same number times 2^-120, denormal ones too. Scales are held 2^120 times as large,
// so one multiplication makes two weights, and none of them is rounded: four digits fit in bf16.
//
// Each half of a word holds two codes. One is where bf16 wants it, and the other in the bits between:
// its exponent in bits 11 to 14, its mantissa in bits 0 to 2, its sign in bit 3 of the other half.
#pragma once

#include "unit.cuh"

struct Fp8Weight {
    static constexpr int SCALES = 1024;
    static constexpr int BYTES = SCALES + 16;

    struct Unit {
        uint32_t words[8];
        // The exponents of bf16 that scale outputs g and g + 8.
        uint32_t scales;
    };

    // Two pairs of codes in one word.
    static __device__ uint32_t word(const uint32_t (&codes)[4]) {
        uint32_t out = 0;
        for (int half = 0; half < 2; ++half) {
            uint32_t first = codes[half], second = codes[2 + half];
            out |= (first >> 7 << 15 | (first & 127) << 4) << (16 * half);
            out |= ((second >> 3 & 15) << 11 | (second & 7)) << (16 * half);
            out |= second >> 7 << (16 * (1 - half) + 3);
        }
        return out;
    }

    template <bool SHARED>
    static __device__ __forceinline__ Unit load(const uint8_t* unit, int lane) {
        Unit out;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint4 v = load_16<SHARED>(unit + half * 512 + lane * 16);
            out.words[half * 4] = v.x, out.words[half * 4 + 1] = v.y;
            out.words[half * 4 + 2] = v.z, out.words[half * 4 + 3] = v.w;
        }
        out.scales = *reinterpret_cast<const uint16_t*>(unit + SCALES + lane / 4 * 2);
        return out;
    }

    static __device__ __forceinline__ uint32_t times(uint32_t x, uint32_t scale) {
        __nv_bfloat162 out = __hmul2(*reinterpret_cast<__nv_bfloat162*>(&x),
                                     *reinterpret_cast<__nv_bfloat162*>(&scale));
        return *reinterpret_cast<uint32_t*>(&out);
    }

    static __device__ __forceinline__ void operand(const Unit& unit, int step, uint32_t (&a)[4]) {
        const uint32_t scales[2] = {(unit.scales & 255) * 0x00800080u,
                                    (unit.scales >> 8) * 0x00800080u};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            uint32_t word = unit.words[step * 2 + i];
            uint32_t turned = __funnelshift_r(word, word, 4);
            a[i * 2] = times(word & 0x87f087f0u, scales[0]);
            a[i * 2 + 1] =
                times((turned & 0x87808780u) | (word << 4 & 0x00700070u), scales[1]);
        }
    }
};
