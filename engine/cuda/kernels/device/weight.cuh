// How weights lie in device memory: in units of sixteen outputs by sixty-four inputs, each in the
// order in which a tensor core's operand lies in a warp's registers. A lane reads sixteen bytes at a
// time, and what it reads is what it multiplies: nothing is moved between threads.
//
// Within a unit, the four steps are products of 16 x 16. A lane holds eight weights of a step:
// of output g = lane / 4 the inputs 2t, 2t+1 (t = lane % 4), of output g + 8 the same, and then both
// again with inputs 8 further on. Quantised formats hold codes in that order, then scales, and
// minimums where they have them, as f16: w = scale (code - zero) + minimum.
#pragma once

#include <cstdint>
#include <cuda_fp16.h>

#include "../ptx/copy.cuh"
#include "activation.cuh"

constexpr int UNIT_OUTPUTS = 16;
constexpr int UNIT_INPUTS = 64;
constexpr int UNIT_STEPS = 4;

// Where a weight is in its unit.
struct Place {
    int step, lane, index;

    __device__ Place(int output, int input)
        : step(input / 16),
          lane(output % 8 * 4 + input % 8 / 2),
          index((output / 8 + input % 16 / 8 * 2) * 2 + input % 2) {}

    // The inverse: `index` of eight, of a lane, in a step.
    static __device__ int output(int lane, int index) { return lane / 4 + index / 2 % 2 * 8; }
    static __device__ int input(int step, int lane, int index) {
        return step * 16 + lane % 4 * 2 + index / 4 * 8 + index % 2;
    }
};

template <bool SHARED>
__device__ __forceinline__ uint4 load_16(const uint8_t* from) {
    return SHARED ? *reinterpret_cast<const uint4*>(from) : load_once(from);
}

// A whole number below 2^23, without the slow conversion.
__device__ __forceinline__ float small_float(uint32_t number, float zero) {
    return __uint_as_float(0x4b000000u | number) - (8388608.0f + zero);
}

__device__ __forceinline__ float2 halves(uint32_t both) {
    return __half22float2(*reinterpret_cast<__half2*>(&both));
}

struct Bf16Weight {
    static constexpr int BYTES = 2048;

    struct Unit {
        uint4 steps[UNIT_STEPS];
    };

    template <bool SHARED>
    static __device__ __forceinline__ Unit load(const uint8_t* unit, int lane) {
        Unit out;
#pragma unroll
        for (int step = 0; step < UNIT_STEPS; ++step) {
            out.steps[step] = load_16<SHARED>(unit + step * 512 + lane * 16);
        }
        return out;
    }

    static __device__ __forceinline__ void operand(const Unit& unit, int step, uint32_t (&a)[4]) {
        uint4 v = unit.steps[step];
        a[0] = v.x, a[1] = v.y, a[2] = v.z, a[3] = v.w;
    }

    static __device__ float value(const uint8_t* unit, Place at) {
        auto step = reinterpret_cast<const bf16*>(unit + at.step * 512 + at.lane * 16);
        return __bfloat162float(step[at.index]);
    }
};

// Four-bit codes; groups of 32 inputs.
template <int ZERO, bool MINIMUM>
struct FourBitWeight {
    static constexpr int SCALES = 512;
    static constexpr int MINIMUMS = SCALES + 64;
    static constexpr int BYTES = MINIMUMS + (MINIMUM ? 64 : 0);

    struct Unit {
        uint32_t steps[UNIT_STEPS];
        // Of output g, then of output g + 8: both groups.
        uint2 scales, minimums;
    };

    template <bool SHARED>
    static __device__ __forceinline__ Unit load(const uint8_t* unit, int lane) {
        Unit out;
        uint4 codes = load_16<SHARED>(unit + lane * 16);
        out.steps[0] = codes.x, out.steps[1] = codes.y;
        out.steps[2] = codes.z, out.steps[3] = codes.w;
        out.scales = *reinterpret_cast<const uint2*>(unit + SCALES + lane / 4 * 8);
        if (MINIMUM) {
            out.minimums = *reinterpret_cast<const uint2*>(unit + MINIMUMS + lane / 4 * 8);
        }
        return out;
    }

    static __device__ __forceinline__ void operand(const Unit& unit, int step, uint32_t (&a)[4]) {
        float2 scales[2] = {halves(unit.scales.x), halves(unit.scales.y)};
        float2 minimums[2] = {};
        if (MINIMUM) {
            minimums[0] = halves(unit.minimums.x), minimums[1] = halves(unit.minimums.y);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float scale = step < 2 ? scales[i % 2].x : scales[i % 2].y;
            float minimum = step < 2 ? minimums[i % 2].x : minimums[i % 2].y;
            uint32_t codes = unit.steps[step] >> (8 * i);
            float low = small_float(codes & 15, ZERO), high = small_float(codes >> 4 & 15, ZERO);
            a[i] = pair(fmaf(low, scale, minimum), fmaf(high, scale, minimum));
        }
    }

    static __device__ float value(const uint8_t* unit, Place at) {
        uint32_t codes = reinterpret_cast<const uint32_t*>(unit + at.lane * 16)[at.step];
        int group = at.lane / 4 * 4 + at.index / 2 % 2 * 2 + at.step / 2;
        float scale = __half2float(reinterpret_cast<const __half*>(unit + SCALES)[group]);
        float minimum =
            MINIMUM ? __half2float(reinterpret_cast<const __half*>(unit + MINIMUMS)[group]) : 0.0f;
        return fmaf(small_float(codes >> (4 * at.index) & 15, ZERO), scale, minimum);
    }
};

// Six-bit codes, four bits and two bits apart; groups of 16 inputs.
struct SixBitWeight {
    static constexpr int HIGH = 512;
    static constexpr int SCALES = HIGH + 256;
    static constexpr int BYTES = SCALES + 128;
    static constexpr int ZERO = 32;

    struct Unit {
        uint32_t low[UNIT_STEPS], high[UNIT_STEPS / 2];
        // Of output g, then of output g + 8: four groups.
        uint4 scales;
    };

    template <bool SHARED>
    static __device__ __forceinline__ Unit load(const uint8_t* unit, int lane) {
        Unit out;
        uint4 low = load_16<SHARED>(unit + lane * 16);
        out.low[0] = low.x, out.low[1] = low.y, out.low[2] = low.z, out.low[3] = low.w;
        uint2 high = *reinterpret_cast<const uint2*>(unit + HIGH + lane * 8);
        out.high[0] = high.x, out.high[1] = high.y;
        out.scales = *reinterpret_cast<const uint4*>(unit + SCALES + lane / 4 * 16);
        return out;
    }

    static __device__ __forceinline__ void operand(const Unit& unit, int step, uint32_t (&a)[4]) {
        float2 first = halves(step < 2 ? unit.scales.x : unit.scales.y);
        float2 second = halves(step < 2 ? unit.scales.z : unit.scales.w);
        float scales[2] = {step % 2 ? first.y : first.x, step % 2 ? second.y : second.x};
        uint32_t high = unit.high[step / 2] >> (step % 2 * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            uint32_t codes = unit.low[step] >> (8 * i), tops = high >> (4 * i);
            float low = small_float((codes & 15) | (tops & 3) << 4, ZERO);
            float top = small_float((codes >> 4 & 15) | (tops >> 2 & 3) << 4, ZERO);
            a[i] = pair(low * scales[i % 2], top * scales[i % 2]);
        }
    }

    static __device__ float value(const uint8_t* unit, Place at) {
        uint32_t low = reinterpret_cast<const uint32_t*>(unit + at.lane * 16)[at.step];
        uint32_t high = reinterpret_cast<const uint32_t*>(unit + HIGH + at.lane * 8)[at.step / 2];
        uint32_t code = (low >> (4 * at.index) & 15) |
                        (high >> (at.step % 2 * 16 + 2 * at.index) & 3) << 4;
        int group = at.lane / 4 * 8 + at.index / 2 % 2 * 4 + at.step;
        float scale = __half2float(reinterpret_cast<const __half*>(unit + SCALES)[group]);
        return small_float(code, ZERO) * scale;
    }
};

// Signed bytes, held with 128 added; groups of 32 inputs.
struct EightBitWeight {
    static constexpr int SCALES = 1024;
    static constexpr int BYTES = SCALES + 64;
    static constexpr int ZERO = 128;

    struct Unit {
        // Two words a step.
        uint4 codes[2];
        uint2 scales;
    };

    template <bool SHARED>
    static __device__ __forceinline__ Unit load(const uint8_t* unit, int lane) {
        Unit out;
        out.codes[0] = load_16<SHARED>(unit + lane * 16);
        out.codes[1] = load_16<SHARED>(unit + 512 + lane * 16);
        out.scales = *reinterpret_cast<const uint2*>(unit + SCALES + lane / 4 * 8);
        return out;
    }

    static __device__ __forceinline__ void operand(const Unit& unit, int step, uint32_t (&a)[4]) {
        uint4 codes = unit.codes[step / 2];
        uint32_t words[2] = {step % 2 ? codes.z : codes.x, step % 2 ? codes.w : codes.y};
        float2 scales[2] = {halves(unit.scales.x), halves(unit.scales.y)};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float scale = step < 2 ? scales[i % 2].x : scales[i % 2].y;
            uint32_t both = words[i / 2] >> (i % 2 * 16);
            a[i] = pair(small_float(both & 255, ZERO) * scale,
                        small_float(both >> 8 & 255, ZERO) * scale);
        }
    }

    static __device__ float value(const uint8_t* unit, Place at) {
        int byte = at.step / 2 * 512 + at.lane * 16 + at.step % 2 * 8 + at.index;
        int group = at.lane / 4 * 4 + at.index / 2 % 2 * 2 + at.step / 2;
        float scale = __half2float(reinterpret_cast<const __half*>(unit + SCALES)[group]);
        return small_float(unit[byte], ZERO) * scale;
    }
};

using Q4_0Weight = FourBitWeight<8, false>;
using Q4_1Weight = FourBitWeight<0, true>;

// One instance for each format that weights are kept in: a macro's body is given its name and type.
#define FOR_EACH_FORMAT(BODY)   \
    BODY(bf16, Bf16Weight)      \
    BODY(q4_0, Q4_0Weight)      \
    BODY(q4_1, Q4_1Weight)      \
    BODY(q6, SixBitWeight)      \
    BODY(q8, EightBitWeight)
