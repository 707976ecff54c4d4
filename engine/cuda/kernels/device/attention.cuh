// Exact attention in one pass over the cache (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018; Dao, "FlashAttention-2", 2023).
//
// A sequence's positions are taken in runs of 64 and chunks of two runs, counted from its first.
// Within a chunk a running maximum is kept; chunks are then folded, the first one first. So what a
// query sums up in which order depends on its position alone: not on how its prompt was cut, not on
// the batch, and not on whether one block did it all or one block each chunk.
//
// Sixteen queries of one head of keys and values are computed together: its query heads at one
// position, or at several. Probabilities are f16, as keys and values are; their sum is that of what
// was rounded.
#pragma once

#include <cuda_fp16.h>

#include "../ptx/copy.cuh"
#include "../ptx/mma.cuh"
#include "../ptx/order.cuh"
#include "activation.cuh"
#include "step.cuh"

constexpr int RUN = 64;
constexpr int CHUNK = 2 * RUN;
constexpr int QUERIES = 16;
constexpr int THREADS = 128;

struct Attention {
    const float* qkv;        // [positions, (queries + 2 keys) dim]
    const __half* cache;     // [blocks][heads][keys, values][block size][dim]
    const uint32_t* blocks;  // the tables of all spans
    const Span* spans;       // those of several positions first
    const Piece* pieces;
    bf16* out;               // [positions, queries dim]
    float* partial;          // of each piece: [heads][QUERIES][dim + 2]
    int* arrivals;           // of each piece: [heads], zero between launches
    float scale;             // for powers of two
    int queries, keys, dim, block_size;
    int window;              // 0: none
    int head_tile;           // which sixteen of the query heads that share a key head

    __device__ int sharing() const { return queries / keys; }
    // The first position that a query sees.
    __device__ int first(int position) const {
        return window > 0 ? max(0, position + 1 - window) : 0;
    }
};

// Two rows of a thread: of outputs, the sum of probabilities, and the largest score.
template <int TILES>
struct Running {
    float out[TILES][4];
    float sum[4];  // columns are equal
    float most[2];

    __device__ void clear() {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            out[tile][0] = out[tile][1] = out[tile][2] = out[tile][3] = 0.0f;
        }
        sum[0] = sum[1] = sum[2] = sum[3] = 0.0f;
        most[0] = most[1] = -INFINITY;
    }

    // Makes `largest` the maximum that everything is relative to.
    __device__ void raise(const float (&largest)[2]) {
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            float factor = exp2_fast(most[row] - finite(largest[row]));
            most[row] = largest[row];
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                out[tile][2 * row] *= factor, out[tile][2 * row + 1] *= factor;
            }
            sum[2 * row] *= factor, sum[2 * row + 1] *= factor;
        }
    }

    // Adds what was computed after.
    __device__ void fold(const Running& after) {
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            float largest = fmaxf(most[row], after.most[row]);
            float mine = exp2_fast(most[row] - finite(largest));
            float its = exp2_fast(after.most[row] - finite(largest));
            most[row] = largest;
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
#pragma unroll
                for (int i = 2 * row; i < 2 * row + 2; ++i) {
                    out[tile][i] = folded(out[tile][i], mine, after.out[tile][i], its);
                }
            }
            sum[2 * row] = folded(sum[2 * row], mine, after.sum[2 * row], its);
        }
    }

    static __device__ float folded(float before, float mine, float after, float its) {
        return __fmaf_rn(after, its, __fmul_rn(before, mine));
    }
    // Where nothing was seen yet, everything is zero, whatever it is relative to.
    static __device__ float finite(float most) { return most == -INFINITY ? 0.0f : most; }
};

// The keys and values of a run in shared memory.
template <int DIM>
struct Run {
    static constexpr int STRIDE = DIM + 8;
    static constexpr int BYTES = 2 * RUN * STRIDE * 2;

    // Brings the positions below `end`; zeros for the others, since what was never written may be
    // anything. Blocks are looked up all at once, before anything waits for them.
    static __device__ void fetch(const Attention& p, const uint32_t* blocks, int head, int start,
                                 int end, __half* to) {
        constexpr int PIECES = DIM / 8, EACH = THREADS / PIECES, STEPS = RUN / EACH;
        const int col = threadIdx.x % PIECES * 8;
        const size_t values = static_cast<size_t>(p.block_size) * p.dim;
        uint32_t block[STEPS];
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            int position = start + threadIdx.x / PIECES + step * EACH;
            block[step] = position < end ? blocks[position / p.block_size] : 0;
        }
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            int row = threadIdx.x / PIECES + step * EACH, position = start + row;
            bool valid = position < end && col < p.dim;
            size_t part = (static_cast<size_t>(block[step]) * p.keys + head) * 2 * p.block_size;
            const __half* from = p.cache + (part + position % p.block_size) * p.dim;
            from = valid ? from + col : p.cache;
            copy_16(to + row * STRIDE + col, from, valid);
            copy_16(to + (RUN + row) * STRIDE + col, valid ? from + values : from, valid);
        }
    }

    // Scores of sixteen positions from `position` on: those of eight, and of the next eight.
    static __device__ void score(const __half* keys, const uint32_t (&queries)[DIM / 16][4],
                                 int position, float (&scores)[2][4]) {
        const int lane = threadIdx.x % 32;
        const __half* row = keys + (position + lane % 8 + lane / 16 * 8) * STRIDE + lane / 8 % 2 * 8;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            scores[0][i] = scores[1][i] = 0.0f;
        }
#pragma unroll
        for (int step = 0; step < DIM / 16; ++step) {
            uint32_t b[4];
            load_tiles(b, row + step * 16);
            mma_f16(scores[0], queries[step], b[0], b[1]);
            mma_f16(scores[1], queries[step], b[2], b[3]);
        }
    }

    // Adds sixteen positions' values, `TILES` groups of eight columns from `col` on.
    template <int TILES>
    static __device__ void add(const __half* values, const uint32_t (&shares)[4], int position,
                               int col, Running<TILES>& running) {
        const int lane = threadIdx.x % 32;
        const __half* row = values + (position + lane % 16) * STRIDE + col + lane / 16 * 8;
#pragma unroll
        for (int tile = 0; tile < TILES; tile += 2) {
            uint32_t b[4];
            load_tiles_transposed(b, row + tile * 8);
            mma_f16(running.out[tile], shares, b[0], b[1]);
            mma_f16(running.out[tile + 1], shares, b[2], b[3]);
        }
        constexpr uint32_t ONES = 0x3c003c00;
        mma_f16(running.sum, shares, ONES, ONES);
    }

    // Sixteen queries as an operand; `row` says where each is, or null.
    template <class Row>
    static __device__ void queries(const Attention& p, Row row, uint32_t (&out)[DIM / 16][4]) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const float* from = row(lane / 4 + 8 * i);
#pragma unroll
            for (int step = 0; step < DIM / 16; ++step) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    int col = step * 16 + half * 8 + lane % 4 * 2;
                    float2 both = make_float2(0.0f, 0.0f);
                    if (from && col < p.dim) {
                        both = *reinterpret_cast<const float2*>(from + col);
                    }
                    __half2 halves = __floats2half2_rn(both.x * p.scale, both.y * p.scale);
                    out[step][i + 2 * half] = *reinterpret_cast<uint32_t*>(&halves);
                }
            }
        }
    }
};

// Two probabilities as an operand.
__device__ __forceinline__ uint32_t shares_of(float low, float high, float most) {
    __half2 both = __floats2half2_rn(exp2_fast(low - most), exp2_fast(high - most));
    return *reinterpret_cast<uint32_t*>(&both);
}

// The larger of what the four threads of a row have.
__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
