// A unit of a weight: where each of its weights is, and how a lane reads its share.
#pragma once

#include <cstdint>

#include "../ptx/copy.cuh"
#include "activation.cuh"

constexpr int UNIT_OUTPUTS = 16;
constexpr int UNIT_INPUTS = 64;
constexpr int UNIT_STEPS = 4;

// Of eight weights that a lane holds of a step, the one at `index`.
struct Place {
    static __device__ int output(int lane, int index) { return lane / 4 + index / 2 % 2 * 8; }
    static __device__ int input(int step, int lane, int index) {
        return step * 16 + lane % 4 * 2 + index / 4 * 8 + index % 2;
    }
};

template <bool SHARED>
__device__ __forceinline__ uint4 load_16(const uint8_t* from) {
    return SHARED ? *reinterpret_cast<const uint4*>(from) : load_once(from);
}
