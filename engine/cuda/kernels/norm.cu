// Root-mean-square norms, of rows as they are, of sums with a residual, and of sums of experts with
// one.
#include "device/norm.cuh"
#include "ptx/order.cuh"

struct Norm {
    const void* x;         // [rows, width], or of choices
    float* residual;       // x is added to it, and the sum normed; null: x is
    const float* weight;   // [width]
    bf16* out;             // [rows, width]
    // Where x is of choices, a row is first the sum of its position's, which goes to `sums`.
    const int* places;     // [rows, chosen]; see `combine`
    const float* weights;  // [rows, chosen]
    float* sums;           // [rows, width]
    int chosen;            // 0: x has a row for each
    float eps;
    int width;
    int halves;            // x is bf16
};

constexpr int THREADS = NORM_THREADS;
// Columns of a thread that stay in registers.
constexpr int KEPT = 8;

// What a position's choices give together. Which kind they are is asked before, so that many loads
// are under way together.
template <class Choice>
__device__ __forceinline__ void sum_choices(const Norm& p, int first, float (&x)[KEPT]) {
    const int* places = p.places + blockIdx.x * p.chosen;
    const float* weights = p.weights + blockIdx.x * p.chosen;
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        x[i] = 0.0f;
    }
#pragma unroll 4
    for (int n = 0; n < p.chosen; ++n) {
        const Choice* choice =
            static_cast<const Choice*>(p.x) + static_cast<size_t>(places[n]) * p.width;
        const float weight = weights[n];
#pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            int col = first + i * THREADS;
            const float its = col < p.width ? rounded(static_cast<float>(choice[col])) : 0.0f;
            x[i] = fmaf(weight, its, x[i]);
        }
    }
}

// Everything is asked for before anything is stored, so that loads don't wait for one another.
__device__ __forceinline__ void load(const Norm& p, int first, float (&x)[KEPT]) {
    const size_t row = static_cast<size_t>(blockIdx.x) * p.width;
    if (p.chosen == 0) {
#pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            int col = first + i * THREADS;
            x[i] = col < p.width ? element(p.x, p.halves, row + col) : 0.0f;
        }
        return;
    }
    if (p.halves) {
        sum_choices<bf16>(p, first, x);
    } else {
        sum_choices<float>(p, first, x);
    }
}

// A block for each row.
extern "C" __global__ void __launch_bounds__(THREADS) rms_norm(const __grid_constant__ Norm p) {
    const size_t row = static_cast<size_t>(blockIdx.x) * p.width;
    float x[KEPT], residual[KEPT], weight[KEPT];
    float squares = 0.0f;
    release_next();
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        int col = i * THREADS + threadIdx.x;
        weight[i] = col < p.width ? p.weight[col] : 0.0f;
    }
    wait_for_previous();
    // Rows wider than what is kept go the same way several times.
    for (int first = threadIdx.x; first < p.width; first += KEPT * THREADS) {
#pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            int col = first + i * THREADS;
            residual[i] = p.residual && col < p.width ? p.residual[row + col] : 0.0f;
        }
        load(p, first, x);
#pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            int col = first + i * THREADS;
            if (p.chosen && col < p.width) {
                p.sums[row + col] = x[i];
            }
            x[i] += residual[i];
            if (p.residual && col < p.width) {
                p.residual[row + col] = x[i];
            }
            squares = fmaf(x[i], x[i], squares);
        }
    }
    const float scale = rsqrtf(block_sum(squares) / p.width + p.eps);
    const bool all_kept = p.width <= KEPT * THREADS;
    for (int first = threadIdx.x; first < p.width; first += KEPT * THREADS) {
#pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            int col = first + i * THREADS;
            if (col < p.width) {
                float value = x[i], by = weight[i];
                if (!all_kept) {
                    value = p.residual ? p.residual[row + col]
                                       : element(p.x, p.halves, row + col);
                    by = p.weight[col];
                }
                p.out[row + col] = __float2bfloat16_rn(value * scale * by);
            }
        }
    }
}

// The same for many rows that are there, where bandwidth is what counts: a quarter of the threads,
// each of which plays four neighbours. Rows have at most EACH times as many columns as threads are played, a
// multiple of four.
template <int EACH>
struct Wide {
    static constexpr int PLAYED = 4, THREADS = NORM_THREADS / PLAYED;
    using Row = float4[EACH];

    static __device__ __forceinline__ int col(int i) {
        return i * NORM_THREADS + PLAYED * static_cast<int>(threadIdx.x);
    }

    static __device__ __forceinline__ void load(const float* from, int width, Row& to) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            to[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (col(i) < width) {
                to[i] = *reinterpret_cast<const float4*>(from + col(i));
            }
        }
    }

    static __device__ __forceinline__ void load(const bf16* from, int width, Row& to) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            uint2 four = make_uint2(0, 0);
            if (col(i) < width) {
                four = *reinterpret_cast<const uint2*>(from + col(i));
            }
            const float2 low = unpaired(four.x), high = unpaired(four.y);
            to[i] = make_float4(low.x, low.y, high.x, high.y);
        }
    }

    static __device__ __forceinline__ void store(float* to, int width, const Row& x) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            if (col(i) < width) {
                *reinterpret_cast<float4*>(to + col(i)) = x[i];
            }
        }
    }

    // As `block_sum` adds what the threads have that are played.
    static __device__ __forceinline__ float sum(float (&x)[PLAYED]) {
        __shared__ float parts[NORM_THREADS / 32];
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int offset = 4; offset > 0; offset /= 2) {
#pragma unroll
            for (int i = 0; i < PLAYED; ++i) {
                x[i] += __shfl_xor_sync(~0u, x[i], offset);
            }
        }
        if (lane % 8 == 0) {
            parts[threadIdx.x / 8] = (x[0] + x[2]) + (x[1] + x[3]);
        }
        __syncthreads();
        return warp_sum(lane < NORM_THREADS / 32 ? parts[lane] : 0.0f);
    }

    static __device__ __forceinline__ void run(const Norm& p) {
        const size_t first = static_cast<size_t>(blockIdx.x) * p.width;
        Row x, residual, weight;
        release_next();
        load(p.weight, p.width, weight);
        wait_for_previous();
        if (p.residual) {
            load(p.residual + first, p.width, residual);
        }
        if (p.halves) {
            load(static_cast<const bf16*>(p.x) + first, p.width, x);
        } else {
            load(static_cast<const float*>(p.x) + first, p.width, x);
        }
        if (p.residual) {
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                x[i].x += residual[i].x, x[i].y += residual[i].y;
                x[i].z += residual[i].z, x[i].w += residual[i].w;
            }
            store(p.residual + first, p.width, x);
        }
        float squares[PLAYED] = {};
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            squares[0] = fmaf(x[i].x, x[i].x, squares[0]);
            squares[1] = fmaf(x[i].y, x[i].y, squares[1]);
            squares[2] = fmaf(x[i].z, x[i].z, squares[2]);
            squares[3] = fmaf(x[i].w, x[i].w, squares[3]);
        }
        const float scale = rsqrtf(sum(squares) / p.width + p.eps);
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            if (col(i) < p.width) {
                *reinterpret_cast<uint2*>(p.out + first + col(i)) =
                    make_uint2(pair(x[i].x * scale * weight[i].x, x[i].y * scale * weight[i].y),
                               pair(x[i].z * scale * weight[i].z, x[i].w * scale * weight[i].w));
            }
        }
    }
};

#define MANY(EACH)                                                                 \
    extern "C" __global__ void __launch_bounds__(Wide<EACH>::THREADS)             \
        rms_norm_many_##EACH(const __grid_constant__ Norm p) {                     \
        Wide<EACH>::run(p);                                                        \
    }
MANY(4)
MANY(8)

// The same of a row that stays in registers, with nothing to be added.
extern "C" __global__ void __launch_bounds__(THREADS) norm_alone(const __grid_constant__ Normed p) {
    const size_t row = static_cast<size_t>(blockIdx.x) * p.width;
    float x[KEPT], weight[KEPT];
    float squares = 0.0f;
    release_next();
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        int col = i * THREADS + threadIdx.x;
        weight[i] = col < p.width ? p.weight[col] : 0.0f;
    }
    wait_for_previous();
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        int col = i * THREADS + threadIdx.x;
        x[i] = col < p.width ? p.x[row + col] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        squares = fmaf(x[i], x[i], squares);
    }
    const float scale = rsqrtf(block_sum(squares) / p.width + p.eps);
#pragma unroll
    for (int i = 0; i < KEPT; ++i) {
        int col = i * THREADS + threadIdx.x;
        if (col < p.width) {
            p.out[row + col] = __float2bfloat16_rn(x[i] * scale * weight[i]);
        }
    }
}
