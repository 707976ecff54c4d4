// Exact attention in one pass over the cache (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018; Dao, "FlashAttention-2", 2023).
//
// A sequence's positions are taken in chunks of 128, counted from its first, and chunks in stretches
// of four. Along a stretch, what a query sums up is relative to the largest score so far: each chunk
// raises that, and is added. Stretches begin anew and are folded, the first one first. So what a
// query sums up in which order depends on its position alone: not on how its prompt was cut, not on
// the batch, and not on whether one block did it all or one block each stretch.
//
// Probabilities are f16, as keys and values are.
#pragma once

#include <cuda_fp16.h>

#include "../ptx/mma.cuh"
#include "../ptx/order.cuh"
#include "activation.cuh"
#include "cache.cuh"
#include "step.cuh"

constexpr int CHUNK = 128;
constexpr int STRETCH = 512;
// Most query heads that are computed together for one position.
constexpr int QUERIES = 16;

struct Attention {
    const float* qkv;        // [positions, (queries + 2 keys) dim]
    const __half* cache;
    const uint32_t* blocks;  // the tables of all spans
    const Span* spans;       // those of several positions first
    const Piece* pieces;
    bf16* out;               // [positions, queries dim]
    float* partial;          // of each slot of pieces: [heads][QUERIES (dim + 4)]
    int* arrivals;           // of each slot: [heads], zero between launches
    CacheShape shape;
    float scale;             // for powers of two
    int queries;
    int window;              // 0: none
    int head_tile;           // which of the query heads that share a key head
    int span_count;

    __device__ int sharing() const { return queries / shape.heads; }
    __device__ size_t width() const {
        return static_cast<size_t>(queries + 2 * shape.heads) * shape.dim;
    }
    // The first position that a query sees.
    __device__ int first(int position) const {
        return window > 0 ? max(0, position + 1 - window) : 0;
    }
    __device__ float* partial_of(int slot, int head) const {
        return partial + (static_cast<size_t>(slot) * shape.heads + head) * QUERIES * (shape.dim + 4);
    }
};

// The span that a tile of so many queries is of; `tile` becomes its number there. A warp looks at
// thirty-two of them at a time.
__device__ __forceinline__ Span find_span(const Attention& p, int& tile, int queries) {
    const int lane = threadIdx.x % 32;
    for (int base = 0;; base += 32) {
        int tiles = 0;
        if (base + lane < p.span_count) {
            tiles = (p.spans[base + lane].count * p.sharing() + queries - 1) / queries;
        }
        int upto = tiles;
#pragma unroll
        for (int offset = 1; offset < 32; offset *= 2) {
            const int others = __shfl_up_sync(~0u, upto, offset);
            upto += lane >= offset ? others : 0;
        }
        // From one lane to all, so that what follows is known to be the same for all.
        const int which = __shfl_sync(~0u, __popc(__ballot_sync(~0u, upto <= tile)), 0);
        if (which < 32 || base + 32 >= p.span_count) {
            tile = __shfl_sync(~0u, tile - __shfl_sync(~0u, upto - tiles, which % 32), 0);
            return p.spans[base + which % 32];
        }
        tile -= __shfl_sync(~0u, upto, 31);
    }
}

// Where nothing was seen yet, everything is zero, whatever it is relative to.
__device__ __forceinline__ float finite(float most) {
    return most == -INFINITY ? 0.0f : most;
}

// What counted relative to `most` counts so much once that becomes the larger one.
__device__ __forceinline__ float raised(float& most, float its) {
    const float largest = fmaxf(most, its);
    const float factor = exp2_fast(most - finite(largest));
    most = largest;
    return factor;
}

// What two parts count when they are brought to the same largest score.
struct Fold {
    float before, after;

    // `most` becomes the larger one.
    __device__ __forceinline__ Fold(float& most, float its) {
        before = raised(most, its);
        after = exp2_fast(its - finite(most));
    }
    __device__ __forceinline__ float operator()(float x, float its) const {
        return __fmaf_rn(its, after, __fmul_rn(x, before));
    }
};

// Two probabilities as an operand.
__device__ __forceinline__ uint32_t halves(float low, float high) {
    __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&both);
}

__device__ __forceinline__ uint32_t shares_of(float low, float high, float most) {
    return halves(exp2_fast(low - most), exp2_fast(high - most));
}

// The larger of what the four threads of a row have.
__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
