// Exact attention in one pass over the cache (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018; Dao, "FlashAttention-2", 2023).
//
// A sequence's positions are taken in chunks of 128, counted from its first. What a query makes of a
// chunk is relative to its own largest score there; chunks are then folded, the first one first. So
// what a query sums up in which order depends on its position alone: not on how its prompt was cut,
// not on the batch, and not on whether one block did it all or one block each chunk.
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

constexpr int CHUNK = 128;
constexpr int QUERIES = 16;

struct Attention {
    const float* qkv;        // [positions, (queries + 2 keys) dim]
    const __half* cache;     // [blocks][heads][keys, values][block size][dim]
    const uint32_t* blocks;  // the tables of all spans
    const Span* spans;       // those of several positions first
    const Piece* pieces;
    bf16* out;               // [positions, queries dim]
    float* partial;          // of each piece: [heads][QUERIES][dim + 4]
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

// Where nothing was seen yet, everything is zero, whatever it is relative to.
__device__ __forceinline__ float finite(float most) {
    return most == -INFINITY ? 0.0f : most;
}

// What two parts count when they are brought to the same largest score.
struct Fold {
    float before, after;

    // `most` becomes the larger one.
    __device__ __forceinline__ Fold(float& most, float its) {
        const float largest = fmaxf(most, its);
        before = exp2_fast(most - finite(largest));
        after = exp2_fast(its - finite(largest));
        most = largest;
    }
    __device__ __forceinline__ float operator()(float x, float its) const {
        return __fmaf_rn(its, after, __fmul_rn(x, before));
    }
};

// Two rows of a thread: of outputs, the sum of probabilities, and the largest score.
template <int TILES>
struct Part {
    float out[TILES][4] = {};
    float sum[4] = {};  // columns are equal
    float most[2] = {-INFINITY, -INFINITY};

    __device__ void fold(const Part& after) {
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            const Fold fold(most[row], after.most[row]);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
#pragma unroll
                for (int i = 2 * row; i < 2 * row + 2; ++i) {
                    out[tile][i] = fold(out[tile][i], after.out[tile][i]);
                }
            }
            sum[2 * row] = fold(sum[2 * row], after.sum[2 * row]);
        }
    }
};

// The keys, and the values, of a chunk in shared memory.
template <int DIM, int THREADS>
struct Chunk {
    static constexpr int STRIDE = DIM + 8;
    static constexpr int ELEMENTS = CHUNK * STRIDE;
    static constexpr int PIECES = DIM / 8, EACH = THREADS / PIECES, STEPS = CHUNK / EACH;

    // The blocks of the rows that this thread copies, looked up before anything waits for them.
    struct Rows {
        uint32_t at[STEPS];  // from the cache's start, in positions of a head

        __device__ Rows(const Attention& p, const uint32_t* blocks, int head, int start, int end) {
            const int first = start + threadIdx.x / PIECES;
            uint32_t block[STEPS];
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                block[step] = first + step * EACH < end ? blocks[(first + step * EACH) / p.block_size]
                                                        : 0;
            }
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                at[step] = (block[step] * p.keys + head) * 2 * p.block_size +
                           (first + step * EACH) % p.block_size;
            }
        }
    };

    // Brings the positions below `end`; zeros for the others, since what was never written may be
    // anything. `later` is 0 for keys, and a block's size for values.
    static __device__ void fetch(const Attention& p, const Rows& rows, int later, int start, int end,
                                 __half* to) {
        const int col = threadIdx.x % PIECES * 8, first = threadIdx.x / PIECES;
        to += first * STRIDE + col;
#pragma unroll
        for (int step = 0; step < STEPS; ++step, to += EACH * STRIDE) {
            bool valid = start + first + step * EACH < end && col < p.dim;
            size_t from = static_cast<size_t>(rows.at[step] + later) * p.dim + col;
            copy_16(to, p.cache + (valid ? from : 0), valid);
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
                               int col, Part<TILES>& part) {
        const int lane = threadIdx.x % 32;
        const __half* row = values + (position + lane % 16) * STRIDE + col + lane / 16 * 8;
#pragma unroll
        for (int tile = 0; tile < TILES; tile += 2) {
            uint32_t b[4];
            // Of a last tile by itself, the second half is the first once more.
            load_tiles_transposed(b, tile + 1 < TILES ? row + tile * 8
                                                      : row + tile * 8 - lane / 16 * 8);
            mma_f16(part.out[tile], shares, b[0], b[1]);
            if (tile + 1 < TILES) {
                mma_f16(part.out[tile + 1], shares, b[2], b[3]);
            }
        }
        constexpr uint32_t ONES = 0x3c003c00;
        mma_f16(part.sum, shares, ONES, ONES);
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
