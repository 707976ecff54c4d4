// Root-mean-square norms.
#include "device/activation.cuh"
#include "device/reduce.cuh"
#include "ptx/order.cuh"

struct Norm {
    const void* x;        // [rows, width]
    float* residual;      // x is added to it, and the sum normed; null: x is
    const float* weight;  // [width]
    bf16* out;            // [rows, width]
    float eps;
    int width;
    int half;             // x is bf16
};

// A block for each row.
extern "C" __global__ void __launch_bounds__(512) rms_norm(const __grid_constant__ Norm p) {
    constexpr int KEPT = 16;
    const size_t row = static_cast<size_t>(blockIdx.x) * p.width;
    float kept[KEPT], weights[KEPT];
    float squares = 0.0f;
    release_next();
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        int col = i * 512 + threadIdx.x;
        weights[i] = col < p.width ? p.weight[col] : 0.0f;
    }
    wait_for_previous();
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        int col = i * 512 + threadIdx.x;
        if (col < p.width) {
            kept[i] = element(p.x, p.half, row + col);
            if (p.residual) {
                kept[i] += p.residual[row + col];
                p.residual[row + col] = kept[i];
            }
            squares = fmaf(kept[i], kept[i], squares);
        }
    }
    // Rows wider than what is kept in registers.
    for (int col = KEPT * 512 + threadIdx.x; col < p.width; col += 512) {
        float x = element(p.x, p.half, row + col);
        if (p.residual) {
            x += p.residual[row + col];
            p.residual[row + col] = x;
        }
        squares = fmaf(x, x, squares);
    }
    const float scale = rsqrtf(block_sum(squares) / p.width + p.eps);
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        int col = i * 512 + threadIdx.x;
        if (col < p.width) {
            p.out[row + col] = __float2bfloat16_rn(kept[i] * scale * weights[i]);
        }
    }
    for (int col = KEPT * 512 + threadIdx.x; col < p.width; col += 512) {
        float x = p.residual ? p.residual[row + col] : element(p.x, p.half, row + col);
        p.out[row + col] = __float2bfloat16_rn(x * scale * p.weight[col]);
    }
}
