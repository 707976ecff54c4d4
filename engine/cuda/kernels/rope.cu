// What happens to projections before attention: norms of heads, rotary position embedding, and the
// way of keys and values to the cache.
#include "device/rope.cuh"
#include "ptx/order.cuh"

constexpr int WARPS = 8;

// A warp for each head at a time, all of one position. Grid: rows, groups of warps.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    rope_and_store(const __grid_constant__ Rope p) {
    __shared__ float heads[WARPS][DIM_MAX];
    __shared__ float2 turns[PAIRS_MAX];
    release_next();
    wait_for_previous();
    const int token = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int dim = p.shape.dim, keys = p.shape.heads;
    const uint32_t position = p.positions[token], slot = p.slots[token];
    for (int pair = threadIdx.x; pair < p.pairs; pair += blockDim.x) {
        turns[pair] = turn_of(p, position, pair);
    }
    __syncthreads();
    float* x = heads[warp];
    float* row = p.qkv + static_cast<size_t>(token) * (p.queries + 2 * keys) * dim;
    for (int head = p.first_head + blockIdx.y * WARPS + warp; head < p.queries + 2 * keys;
         head += gridDim.y * WARPS) {
        const bool is_query = head < p.queries, is_value = head >= p.queries + keys;
        float* from = row + head * dim;
        for (int i = lane; i < dim; i += 32) {
            x[i] = from[i];
        }
        __syncwarp();
        if (p.query && !is_value) {
            norm_head(x, is_query ? p.query : p.key, dim, p.eps);
        }
        if (!is_value) {
            turn_head(x, p, turns);
            for (int i = lane; i < dim; i += 32) {
                from[i] = x[i];
            }
        }
        if (!is_query) {
            store_head(p, slot, (head - p.queries) % keys, is_value, x);
        }
        __syncwarp();
    }
}

struct HeadNorm {
    float* qkv;          // [rows, (queries + 2 keys) dim]
    const float* query;  // [dim]
    const float* key;    // [dim]
    float eps;
    int queries, keys, dim;
};

// The norms alone, where nothing is turned after. A warp for each head; grid: rows, groups of heads.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    head_rms_norm(const __grid_constant__ HeadNorm p) {
    release_next();
    wait_for_previous();
    const int head = blockIdx.y * WARPS + threadIdx.x / 32;
    if (head >= p.queries + p.keys) {
        return;
    }
    const size_t width = static_cast<size_t>(p.queries + 2 * p.keys) * p.dim;
    norm_head(p.qkv + blockIdx.x * width + head * p.dim, head < p.queries ? p.query : p.key, p.dim,
              p.eps);
}
