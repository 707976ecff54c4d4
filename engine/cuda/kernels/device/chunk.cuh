// Attention over a plain cache: chunks of keys and values in shared memory, copied row by row, and
// products of a warp.
#pragma once

#include "../ptx/copy.cuh"
#include "attention.cuh"

// Two rows of a thread: of outputs, the sum of probabilities, and the largest score.
template <int TILES>
struct Part {
    float out[TILES][4] = {};
    float sum[4] = {};  // columns are equal
    float most[2] = {-INFINITY, -INFINITY};

    // Makes it relative to what is larger.
    __device__ void raise(const float (&its)[2]) {
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            const float factor = raised(most[row], its[row]);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                out[tile][2 * row] *= factor, out[tile][2 * row + 1] *= factor;
            }
            sum[2 * row] *= factor, sum[2 * row + 1] *= factor;
        }
    }
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
                block[step] = first + step * EACH < end ? blocks[(first + step * EACH) / p.shape.block_size]
                                                        : 0;
            }
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                at[step] = (block[step] * p.shape.heads + head) * 2 * p.shape.block_size +
                           (first + step * EACH) % p.shape.block_size;
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
            bool valid = start + first + step * EACH < end && col < p.shape.dim;
            size_t from = static_cast<size_t>(rows.at[step] + later) * p.shape.dim + col;
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
                    if (from && col < p.shape.dim) {
                        both = *reinterpret_cast<const float2*>(from + col);
                    }
                    __half2 halves = __floats2half2_rn(both.x * p.scale, both.y * p.scale);
                    out[step][i + 2 * half] = *reinterpret_cast<uint32_t*>(&halves);
                }
            }
        }
    }
};
