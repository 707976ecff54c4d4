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

__device__ __forceinline__ float rounded(float x) {
    return __bfloat162float(__float2bfloat16_rn(x));
}

// Two floats, rounded, as a tensor core takes them.
__device__ __forceinline__ uint32_t pair(float low, float high) {
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&both);
}

// The other way.
__device__ __forceinline__ float2 unpaired(uint32_t both) {
    return __bfloat1622float2(*reinterpret_cast<__nv_bfloat162*>(&both));
}

__device__ __forceinline__ float silu(float x) {
    return __fdividef(x, 1.0f + __expf(-x));
}

__device__ __forceinline__ float gelu(float x) {
    // The square root of 2 / pi.
    float inner = 0.7978845608028654f * fmaf(0.044715f * x * x, x, x);
    return 0.5f * x * (1.0f + tanhf(inner));
}

__device__ __forceinline__ float activated(float x, bool is_gelu) {
    return is_gelu ? gelu(x) : silu(x);
}

// What a gated MLP hands on.
__device__ __forceinline__ bf16 gated(float gate, float up, bool is_gelu) {
    return __float2bfloat16_rn(activated(gate, is_gelu) * up);
}
