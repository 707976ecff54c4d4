// The activation of a gated MLP.
#include "device/activation.cuh"
#include "ptx/order.cuh"

struct Gated {
    const float* gate_up;  // [rows, 2 width]
    bf16* out;             // [rows, width]
    int width;
    int gelu;
};

// Grid: rows, groups of 256 columns.
extern "C" __global__ void __launch_bounds__(256) gated_rows(const __grid_constant__ Gated p) {
    release_next();
    wait_for_previous();
    const size_t row = blockIdx.x;
    const int col = blockIdx.y * 256 + threadIdx.x;
    if (col < p.width) {
        float gate = p.gate_up[row * 2 * p.width + col];
        float up = p.gate_up[row * 2 * p.width + p.width + col];
        p.out[row * p.width + col] = gated(gate, up, p.gelu);
    }
}
