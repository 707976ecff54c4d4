// How weights lie in device memory: in units of sixteen outputs by sixty-four inputs, each in the
// order in which a tensor core's operand lies in a warp's registers. A lane reads sixteen bytes at a
// time, and what it reads is what it multiplies: nothing is moved between threads.
//
// Within a unit, the four steps are products of 16 x 16. A lane holds eight weights of a step:
// of output g = lane / 4 the inputs 2t, 2t+1 (t = lane % 4), of output g + 8 the same, and then both
// again with inputs 8 further on. Formats hold what a lane needs of one after the other: codes, then
// scales of output g and of output g + 8.
//
// A format has `load`, by which a lane gets its share of a unit, and `operand`, which makes of it the
// registers of a step's product. A budget: a multiprocessor gets some twenty bytes of weights a cycle
// and begins four instructions, each for 32 lanes. Two instructions for a weight are a third of them.
#pragma once

#include "codes.cuh"
#include "fp8.cuh"

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
};

// One instance for each format that weights are kept in: a macro's body is given its name and type.
#define FOR_EACH_FORMAT(BODY)   \
    BODY(bf16, Bf16Weight)      \
    BODY(fp8, Fp8Weight)        \
    BODY(q4_0, Q4_0Weight)      \
    BODY(q4_1, Q4_1Weight)      \
    BODY(q6, SixBitWeight)      \
    BODY(q8, EightBitWeight)
