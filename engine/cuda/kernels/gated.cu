// The activation of a gated MLP.
#include "device/activation.cuh"
#include "ptx/order.cuh"

struct Gated {
    const float* gate_up;  // [rows, 2 width]
    bf16* out;             // [rows, width]
    int width;
    int gelu;
};

__device__ __forceinline__ float silu(float x) {
    return x / (1.0f + expf(-x));
}

__device__ __forceinline__ float gelu(float x) {
    // The square root of 2 / pi.
    float inner = 0.7978845608028654f * fmaf(0.044715f * x * x, x, x);
    return 0.5f * x * (1.0f + tanhf(inner));
}

// Grid: rows, groups of 256 columns.
extern "C" __global__ void __launch_bounds__(256) gated(const __grid_constant__ Gated p) {
    release_next();
    wait_for_previous();
    const size_t row = blockIdx.x;
    const int col = blockIdx.y * 256 + threadIdx.x;
    if (col < p.width) {
        float gate = p.gate_up[row * 2 * p.width + col];
        float up = p.gate_up[row * 2 * p.width + p.width + col];
        float active = p.gelu ? gelu(gate) : silu(gate);
        p.out[row * p.width + col] = __float2bfloat16_rn(active * up);
    }
}
