// What happens to projections before attention: norms of heads, rotary position embedding, and the
// way of keys and values to the cache.
#include <cstdint>
#include <cuda_fp16.h>

#include "device/reduce.cuh"
#include "ptx/order.cuh"

constexpr int PAIRS_MAX = 256;
// Most elements of a head.
constexpr int DIM_MAX = 256;
constexpr int WARPS = 4;

struct Rope {
    float* qkv;          // [rows, (queries + 2 keys) dim]
    __half* cache;       // [blocks][heads][keys, values][block size][dim]
    const uint32_t* positions;
    const uint32_t* slots;
    const float* query;  // weights of the norms of heads, [dim]; null: none
    const float* key;
    float eps;
    int queries, keys, dim, block_size;
    int pairs, neighbours;
    float magnitude;
    float frequencies[PAIRS_MAX];
};

// Sine and cosine of an angle that single precision would blur.
__device__ __forceinline__ float2 turn(uint32_t position, float frequency) {
    double angle = static_cast<double>(position) * frequency;
    // A whole number of turns less.
    double turns = rint(angle * 0.15915494309189535);
    float2 out;
    sincosf(static_cast<float>(fma(turns, -6.283185307179586, angle)), &out.x, &out.y);
    return out;
}

// A warp for each head. Grid: rows, groups of heads.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    rope_and_store(const __grid_constant__ Rope p) {
    __shared__ float heads[WARPS][DIM_MAX];
    release_next();
    wait_for_previous();
    const int token = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int head = blockIdx.y * WARPS + warp;
    if (head >= p.queries + 2 * p.keys) {
        return;
    }
    const bool is_query = head < p.queries, is_value = head >= p.queries + p.keys;
    const size_t width = static_cast<size_t>(p.queries + 2 * p.keys) * p.dim;
    float* from = p.qkv + token * width + head * p.dim;
    float* x = heads[warp];
    const uint32_t position = p.positions[token], slot = p.slots[token];
    for (int i = lane; i < p.dim; i += 32) {
        x[i] = from[i];
    }
    __syncwarp();
    if (p.query && !is_value) {
        const float* weight = is_query ? p.query : p.key;
        float squares = 0.0f;
        for (int i = lane; i < p.dim; i += 32) {
            squares = fmaf(x[i], x[i], squares);
        }
        const float scale = rsqrtf(warp_sum(squares) / p.dim + p.eps);
        for (int i = lane; i < p.dim; i += 32) {
            x[i] = x[i] * scale * weight[i];
        }
        __syncwarp();
    }
    for (int pair = lane; pair < p.pairs && !is_value; pair += 32) {
        int first = p.neighbours ? 2 * pair : pair;
        int second = p.neighbours ? 2 * pair + 1 : pair + p.pairs;
        float2 by = turn(position, p.frequencies[pair]);
        float sine = by.x * p.magnitude, cosine = by.y * p.magnitude;
        float a = x[first], b = x[second];
        x[first] = fmaf(a, cosine, -b * sine);
        x[second] = fmaf(b, cosine, a * sine);
    }
    __syncwarp();
    if (!is_value) {
        for (int i = lane; i < p.dim; i += 32) {
            from[i] = x[i];
        }
    }
    if (!is_query) {
        const int block = slot / p.block_size, at = slot % p.block_size;
        size_t part = (static_cast<size_t>(block) * p.keys + (head - p.queries) % p.keys) * 2;
        __half* to = p.cache + ((part + is_value) * p.block_size + at) * p.dim;
        for (int i = lane; i < p.dim; i += 32) {
            to[i] = __float2half_rn(x[i]);
        }
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
    const int head = blockIdx.y * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (head >= p.queries + p.keys) {
        return;
    }
    const size_t width = static_cast<size_t>(p.queries + 2 * p.keys) * p.dim;
    float* x = p.qkv + blockIdx.x * width + head * p.dim;
    const float* weight = head < p.queries ? p.query : p.key;
    float squares = 0.0f;
    for (int i = lane; i < p.dim; i += 32) {
        squares = fmaf(x[i], x[i], squares);
    }
    const float scale = rsqrtf(warp_sum(squares) / p.dim + p.eps);
    for (int i = lane; i < p.dim; i += 32) {
        x[i] = x[i] * scale * weight[i];
    }
}
