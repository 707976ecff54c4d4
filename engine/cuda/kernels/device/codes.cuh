// Weights as whole numbers in few bits, with a scale and a minimum for a group of them:
// w = scale code + minimum, rounded once, to bf16, of a scale and a minimum that are bf16.
//
// The bits of a whole number below 256, read as a bf16, are that number times 2^-133: below 2^-126
// floats are evenly spaced. So codes become numbers by a mask, two in a register; scales are held
// 2^133 times as large, less where codes stand further left, which is one multiplication and addition
// for two weights. What it costs: scales end below 2^-5, 2^-3 and 2^-1, with codes of eight, six and
// four bits. Whoever packs a weight with larger ones says so.
#pragma once

#include "unit.cuh"

// Two numbers of bf16 in a register.
__device__ __forceinline__ uint32_t scaled(uint32_t x, uint32_t scale, uint32_t offset) {
    __nv_bfloat162 out = __hfma2(*reinterpret_cast<__nv_bfloat162*>(&x),
                                 *reinterpret_cast<__nv_bfloat162*>(&scale),
                                 *reinterpret_cast<__nv_bfloat162*>(&offset));
    return *reinterpret_cast<uint32_t*>(&out);
}

// The lower and the upper half of a register, twice.
__device__ __forceinline__ uint32_t lower(uint32_t x) { return __byte_perm(x, x, 0x1010); }
__device__ __forceinline__ uint32_t upper(uint32_t x) { return __byte_perm(x, x, 0x3232); }
__device__ __forceinline__ uint32_t either(uint32_t x, int which) {
    return which == 0 ? lower(x) : upper(x);
}

// The minimum of codes that stand for numbers around zero: what the code with only the highest bit
// gives, times -1. That code is 2^-126, and a power of two leaves every digit.
__device__ __forceinline__ uint32_t around_zero(uint32_t scale) {
    return scaled(scale, 0x80808080u, 0x80008000u);
}

// Four-bit codes; groups of 32 inputs.
template <bool MINIMUM>
struct FourBitWeight {
    static constexpr int SCALES = 512;
    static constexpr int BYTES = SCALES + (MINIMUM ? 128 : 64);
    // Scales are held this power of two larger.
    static constexpr int LARGER = 129;

    struct Unit {
        uint32_t steps[UNIT_STEPS];
        // Of output g, then of output g + 8: with minimums, scale and minimum of each group; without,
        // the scales of both groups.
        uint32_t scales[MINIMUM ? 4 : 2];
    };

    template <bool SHARED>
    static __device__ __forceinline__ Unit load(const uint8_t* unit, int lane) {
        Unit out;
        uint4 codes = load_16<SHARED>(unit + lane * 16);
        out.steps[0] = codes.x, out.steps[1] = codes.y;
        out.steps[2] = codes.z, out.steps[3] = codes.w;
        if constexpr (MINIMUM) {
            uint4 v = *reinterpret_cast<const uint4*>(unit + SCALES + lane / 4 * 16);
            out.scales[0] = v.x, out.scales[1] = v.y, out.scales[2] = v.z, out.scales[3] = v.w;
        } else {
            uint2 v = *reinterpret_cast<const uint2*>(unit + SCALES + lane / 4 * 8);
            out.scales[0] = v.x, out.scales[1] = v.y;
        }
        return out;
    }

    // Pair i of a step is in bits 4 i and 16 + 4 i.
    static __device__ __forceinline__ uint32_t pair_of(uint32_t codes, int i) {
        return (i == 0 ? codes << 4 : codes >> (4 * i - 4)) & 0x00f000f0u;
    }

    static __device__ __forceinline__ void operand(const Unit& unit, int step, uint32_t (&a)[4]) {
        const int group = step / 2;
        uint32_t scales[2], minimums[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if constexpr (MINIMUM) {
                scales[half] = lower(unit.scales[half * 2 + group]);
                minimums[half] = upper(unit.scales[half * 2 + group]);
            } else {
                scales[half] = either(unit.scales[half], group);
                minimums[half] = around_zero(scales[half]);
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            a[i] = scaled(pair_of(unit.steps[step], i), scales[i % 2], minimums[i % 2]);
        }
    }
};

using Q4_0Weight = FourBitWeight<false>;
using Q4_1Weight = FourBitWeight<true>;

// Six-bit codes that stand for numbers around zero; groups of 16 inputs. Three words hold two steps:
// of each half, bits 2 to 7 are a code of the even step and bits 8 to 13 one of the odd step. The
// outer bits of all three together are one more of each.
struct SixBitWeight {
    static constexpr int MORE = 512;
    static constexpr int SCALES = MORE + 256;
    static constexpr int BYTES = SCALES + 128;
    static constexpr int LARGER = 131;

    struct Unit {
        uint32_t words[6];
        // Of output g, then of output g + 8: those of four groups.
        uint32_t scales[4];
    };

    template <bool SHARED>
    static __device__ __forceinline__ Unit load(const uint8_t* unit, int lane) {
        Unit out;
        uint4 v = load_16<SHARED>(unit + lane * 16);
        out.words[0] = v.x, out.words[1] = v.y, out.words[2] = v.z, out.words[3] = v.w;
        uint2 more = *reinterpret_cast<const uint2*>(unit + MORE + lane * 8);
        out.words[4] = more.x, out.words[5] = more.y;
        v = *reinterpret_cast<const uint4*>(unit + SCALES + lane / 4 * 16);
        out.scales[0] = v.x, out.scales[1] = v.y, out.scales[2] = v.z, out.scales[3] = v.w;
        return out;
    }

    // Pair i of the even or the odd step that three words hold.
    static __device__ __forceinline__ uint32_t pair_of(const uint32_t* words, bool odd, int i) {
        if (i < 3) {
            return (odd ? words[i] >> 6 : words[i]) & 0x00fc00fcu;
        }
        if (odd) {
            return (words[0] >> 12 & 0x000c000cu) | (words[1] >> 10 & 0x00300030u) |
                   (words[2] >> 8 & 0x00c000c0u);
        }
        return (words[0] << 2 & 0x000c000cu) | (words[1] << 4 & 0x00300030u) |
               (words[2] << 6 & 0x00c000c0u);
    }

    static __device__ __forceinline__ void operand(const Unit& unit, int step, uint32_t (&a)[4]) {
        uint32_t scales[2], minimums[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            scales[half] = either(unit.scales[half * 2 + step / 2], step % 2);
            minimums[half] = around_zero(scales[half]);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            a[i] = scaled(pair_of(unit.words + step / 2 * 3, step % 2, i), scales[i % 2],
                          minimums[i % 2]);
        }
    }
};

// Eight-bit codes that stand for numbers around zero; groups of 32 inputs. Of each word of a step,
// the even bytes are one pair and the odd ones the next.
struct EightBitWeight {
    static constexpr int SCALES = 1024;
    static constexpr int BYTES = SCALES + 64;
    static constexpr int LARGER = 133;

    struct Unit {
        uint32_t words[8];
        // Of output g, then of output g + 8: those of both groups.
        uint32_t scales[2];
    };

    template <bool SHARED>
    static __device__ __forceinline__ Unit load(const uint8_t* unit, int lane) {
        Unit out;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint4 v = load_16<SHARED>(unit + half * 512 + lane * 16);
            out.words[half * 4] = v.x, out.words[half * 4 + 1] = v.y;
            out.words[half * 4 + 2] = v.z, out.words[half * 4 + 3] = v.w;
        }
        uint2 v = *reinterpret_cast<const uint2*>(unit + SCALES + lane / 4 * 8);
        out.scales[0] = v.x, out.scales[1] = v.y;
        return out;
    }

    static __device__ __forceinline__ void operand(const Unit& unit, int step, uint32_t (&a)[4]) {
        uint32_t scales[2], minimums[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            scales[half] = either(unit.scales[half], step / 2);
            minimums[half] = around_zero(scales[half]);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            uint32_t both = __byte_perm(unit.words[step * 2 + i / 2], 0, i % 2 ? 0x4341 : 0x4240);
            a[i] = scaled(both, scales[i % 2], minimums[i % 2]);
        }
    }
};
