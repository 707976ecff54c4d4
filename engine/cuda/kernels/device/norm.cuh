// Root-mean-square norms of rows: those by a block of their own, and those on the way of a product.
#pragma once

#include "activation.cuh"
#include "reduce.cuh"

// The squares of a row are summed by so many threads, whoever plays them: each those of every so
// many-th column, then the threads of each warp, then the warps.
constexpr int NORM_THREADS = 512;

// Rows that are to be normed.
struct Normed {
    const float* x;       // [rows, width]; null: there are none
    const float* weight;  // [width]
    bf16* out;            // [rows, width], for those who read them later; null: nobody
    float eps;
    int rows, width;
};

// A norm by a block of half as many threads, each of which plays two.
class HalfNorm {
public:
    static constexpr int THREADS = NORM_THREADS / 2;
    // Columns of each thread that is played.
    static constexpr int EACH = 8;
    static constexpr int WIDTH_MAX = NORM_THREADS * EACH;

    // The weight is there early.
    __device__ explicit HalfNorm(const Normed& normed) : normed(normed) {
        each([&](int which, int i, int col) {
            weight[which][i] = col < normed.width ? normed.weight[col] : 0.0f;
        });
    }

    // One row to shared memory, with zeros up to `padded`, and to `out` if this block `writes`.
    __device__ void row(int row, bf16* to, int padded, bool writes) const {
        const int width = normed.width;
        __shared__ float parts[NORM_THREADS / 32];
        const size_t first = static_cast<size_t>(row) * width;
        float x[2][EACH] = {}, squares[2] = {};
        each([&](int which, int i, int col) {
            x[which][i] = col < width ? normed.x[first + col] : 0.0f;
        });
        each([&](int which, int i, int) {
            squares[which] = fmaf(x[which][i], x[which][i], squares[which]);
        });
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int which = 0; which < 2; ++which) {
            const float sum = warp_sum(squares[which]);
            if (lane == 0) {
                parts[which * (THREADS / 32) + warp] = sum;
            }
        }
        __syncthreads();
        const float sum = warp_sum(lane < NORM_THREADS / 32 ? parts[lane] : 0.0f);
        const float scale = rsqrtf(sum / width + normed.eps);
        each([&](int which, int i, int col) {
            if (col < padded) {
                const bf16 value = __float2bfloat16_rn(x[which][i] * scale * weight[which][i]);
                to[col] = value;
                if (writes && col < width) {
                    normed.out[first + col] = value;
                }
            }
        });
        // The row is there, and `parts` may be overwritten.
        __syncthreads();
    }

private:
    // Code that is met for the first time costs more than what it computes: that for columns beyond
    // those of usual widths is left alone where there are none.
    template <class Body>
    __device__ __forceinline__ void each(Body body) const {
        some<0>(body);
        if (normed.width > EACH / 2 * NORM_THREADS) {
            some<EACH / 2>(body);
        }
    }
    template <int FIRST, class Body>
    static __device__ __forceinline__ void some(Body body) {
#pragma unroll
        for (int which = 0; which < 2; ++which) {
#pragma unroll
            for (int i = FIRST; i < FIRST + EACH / 2; ++i) {
                body(which, i, i * NORM_THREADS + which * THREADS + threadIdx.x);
            }
        }
    }

    const Normed& normed;
    float weight[2][EACH] = {};
};
