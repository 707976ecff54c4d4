// Rotary position embedding, and the way of keys and values to the cache.
#include <cstdint>
#include <cuda_fp16.h>

constexpr int PAIRS_MAX = 256;

struct Rope {
    float* qkv;  // [rows, (queries + 2 keys) dim]
    __half* cache;  // [blocks][heads][keys, values][block size][dim]
    const uint32_t* positions;
    const uint32_t* slots;
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

// A block for each position.
extern "C" __global__ void __launch_bounds__(256) rope_and_store(const __grid_constant__ Rope p) {
    __shared__ float2 turns[PAIRS_MAX];
    const int token = blockIdx.x;
    for (int i = threadIdx.x; i < p.pairs; i += 256) {
        float2 both = turn(p.positions[token], p.frequencies[i]);
        turns[i] = make_float2(both.x * p.magnitude, both.y * p.magnitude);
    }
    __syncthreads();
    const int heads = p.queries + p.keys;
    float* row = p.qkv + static_cast<size_t>(token) * (heads + p.keys) * p.dim;
    for (int i = threadIdx.x; i < heads * p.pairs; i += 256) {
        int head = i / p.pairs, pair = i % p.pairs;
        float* x = row + head * p.dim;
        int first = p.neighbours ? 2 * pair : pair;
        int second = p.neighbours ? 2 * pair + 1 : pair + p.pairs;
        float2 by = turns[pair];
        float a = x[first], b = x[second];
        x[first] = fmaf(a, by.y, -b * by.x);
        x[second] = fmaf(b, by.y, a * by.x);
    }
    __syncthreads();
    const int slot = p.slots[token], block = slot / p.block_size, at = slot % p.block_size;
    const float* stored = row + p.queries * p.dim;
    for (int i = threadIdx.x; i < 2 * p.keys * p.dim; i += 256) {
        int head = i / p.dim, value = head / p.keys;
        size_t part = (static_cast<size_t>(block) * p.keys + head % p.keys) * 2 + value;
        p.cache[(part * p.block_size + at) * p.dim + i % p.dim] = __float2half_rn(stored[i]);
    }
}
