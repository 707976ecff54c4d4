// Activations in device memory: f32, or bf16 where a product reads them.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>

using bf16 = __nv_bfloat16;

// An element of either type.
__device__ __forceinline__ float element(const void* x, bool half, size_t index) {
    return half ? __bfloat162float(static_cast<const bf16*>(x)[index])
                : static_cast<const float*>(x)[index];
}

// Two floats, rounded, as a tensor core takes them.
__device__ __forceinline__ uint32_t pair(float low, float high) {
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&both);
}
