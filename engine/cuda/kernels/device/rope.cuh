// Norms of heads and rotary position embedding, for a warp that holds a head in shared memory.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "cache.cuh"
#include "reduce.cuh"

constexpr int PAIRS_MAX = 128;
// Most elements of a head.
constexpr int DIM_MAX = 256;

struct Rope {
    float* qkv;          // [rows, (queries + 2 keys) dim]
    __half* cache;
    const uint32_t* positions;
    const uint32_t* slots;
    const float* query;  // weights of the norms of heads, [dim]; null: none
    const float* key;
    float eps;
    int queries;
    CacheShape shape;
    int first_head;      // those before are not this kernel's
    int pairs, neighbours;
    float magnitude;
    float frequencies[PAIRS_MAX];
};

// Sine and cosine of an angle that single precision would blur, times the magnitude.
__device__ __forceinline__ float2 turn_of(const Rope& p, uint32_t position, int pair) {
    constexpr double HALF_TURNS = 0.31830988618379067;
    double angle = static_cast<double>(position) * p.frequencies[pair] * HALF_TURNS;
    // A whole number of turns less.
    float2 out;
    sincospif(static_cast<float>(angle - 2.0 * rint(angle * 0.5)), &out.x, &out.y);
    return make_float2(out.x * p.magnitude, out.y * p.magnitude);
}

__device__ __forceinline__ void norm_head(float* x, const float* weight, int dim, float eps) {
    const int lane = threadIdx.x % 32;
    float squares = 0.0f;
    for (int i = lane; i < dim; i += 32) {
        squares = fmaf(x[i], x[i], squares);
    }
    const float scale = rsqrtf(warp_sum(squares) / dim + eps);
    for (int i = lane; i < dim; i += 32) {
        x[i] = x[i] * scale * weight[i];
    }
    __syncwarp();
}

__device__ __forceinline__ void turn_pair(float* x, const Rope& p, int pair, float2 by) {
    const int first = p.neighbours ? 2 * pair : pair;
    const int second = p.neighbours ? 2 * pair + 1 : pair + p.pairs;
    const float a = x[first], b = x[second];
    x[first] = fmaf(a, by.y, -b * by.x);
    x[second] = fmaf(b, by.y, a * by.x);
}

// `turns` are those of the head's position, for each pair.
__device__ __forceinline__ void turn_head(float* x, const Rope& p, const float2* turns) {
#pragma unroll 1
    for (int pair = threadIdx.x % 32; pair < p.pairs; pair += 32) {
        turn_pair(x, p, pair, turns[pair]);
    }
    __syncwarp();
}

// A head's keys or values go to their slot.
__device__ __forceinline__ void store_head(const Rope& p, uint32_t slot, int head, bool value,
                                           const float* x) {
    const int block = slot / p.shape.block_size, at = slot % p.shape.block_size;
    __half* to = p.cache + p.shape.piece(block, head, value);
#pragma unroll 1
    for (int i = threadIdx.x % 32; i < p.shape.dim; i += 32) {
        to[p.shape.place(at, i)] = __float2half_rn(x[i]);
    }
}
