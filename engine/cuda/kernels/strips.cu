// Products of experts, of which each has a few choices: gate and up with the activation, and others.
#include "device/experts.cuh"
#include "device/strips.cuh"

extern __shared__ __align__(128) uint8_t room[];

struct Gated {
    Experts experts;  // outputs: those of gate, then those of up
    bf16* out;        // [choices, outputs / 2]
    int gelu;
};

struct Plain {
    Experts experts;
    int each;   // strips of a warp
    int early;  // whether the kernel before only reads the routes, and those before ended
};

// Units of each strip that a warp has under way: as many as leave the others their registers.
template <class Format>
constexpr bool WIDE = sizeof(typename Format::Unit) > 40;
template <class Format, int NT>
constexpr int AHEAD_OF_TWO = WIDE<Format> ? 3 - NT : 4 - NT;
template <class Format, int NT>
constexpr int AHEAD_OF_ONE = WIDE<Format> ? (NT > 2 ? 2 : 3) : (NT > 2 ? 4 : 6);

// What gates let through of a strip.
template <int NT>
__device__ __forceinline__ void store_gated(const Gated& p, const Job& job, int strip,
                                            const float (&gates)[NT][4],
                                            const float (&ups)[NT][4]) {
    const int lane = threadIdx.x % 32, width = job.outputs / 2;
    bf16* out = p.out + static_cast<size_t>(job.first) * width + strip * UNIT_OUTPUTS;
#pragma unroll
    for (int i = 0; i < NT * 2; ++i) {
        const float(&gate)[4] = gates[i / 2], (&up)[4] = ups[i / 2];
        const int first = i % 2 * 2, row = i / 2 * 8 + lane / 4;
        const __nv_bfloat162 both(gated(gate[first], up[first], p.gelu),
                                  gated(gate[first + 1], up[first + 1], p.gelu));
        const uint32_t turned = transposed(*reinterpret_cast<const uint32_t*>(&both));
        if (row < job.count) {
            bf16* to = out + static_cast<size_t>(row) * width + i % 2 * 8 + lane % 4 * 2;
            *reinterpret_cast<uint32_t*>(to) = turned;
        }
    }
}

// Two strips at a time: one of gate, and the one of up that belongs to it.
template <class Format, int NT>
__device__ __forceinline__ void gate_and_up(const Gated& p, const Job& job) {
    const int strips = job.outputs / 2 / UNIT_OUTPUTS;
    Strips<Format, 8, 2, NT, AHEAD_OF_TWO<Format, NT>> mine(job, strips, 1, strips);
    mine.start();
    const Rows rows = mine.bring(room);
    mine.multiply(rows, [&](int strip, int, const float (&sums)[2][NT][4]) {
        store_gated<NT>(p, job, strip, sums[0], sums[1]);
    });
}

// First one, then the other, where there are many rows.
template <class Format, int NT>
__device__ __forceinline__ void gate_then_up(const Gated& p, const Job& job) {
    const int strips = job.outputs / 2 / UNIT_OUTPUTS;
    Strips<Format, 16, 1, NT, 4, true> mine(job, strips, 1, strips);
    mine.start();
    const Rows rows = mine.bring(room);
    float gates[NT][4];
    mine.multiply(rows, [&](int strip, int turn, const float (&sums)[1][NT][4]) {
        if (turn == 1) {
            return store_gated<NT>(p, job, strip, gates, sums[0]);
        }
#pragma unroll
        for (int i = 0; i < NT * 4; ++i) {
            gates[i / 4][i % 4] = sums[0][i / 4][i % 4];
        }
    });
}

template <class Format, int NT>
__device__ __forceinline__ void product(const Plain& p, const Job& job) {
    const int strips = (job.outputs + UNIT_OUTPUTS - 1) / UNIT_OUTPUTS;
    Strips<Format, 8, 1, NT, AHEAD_OF_ONE<Format, NT>> mine(job, strips, p.each, 0);
    mine.start();
    if (p.early) {
        wait_for_previous();
    }
    const Rows rows = mine.bring(room);
    mine.multiply(rows, [&](int strip, int, const float (&sums)[1][NT][4]) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < NT * 4; ++i) {
            job.store(i / 4 * 8 + lane % 4 * 2 + i % 2,
                      strip * UNIT_OUTPUTS + lane / 4 + i % 4 / 2 * 8, sums[0][i / 4][i % 4]);
        }
    });
}

// Whether there is a tile for the block. One that has none ends with those that have.
__device__ __forceinline__ bool find(const Experts& p, Job& job) {
    if (blockIdx.y >= __ldcg(p.num_tiles)) {
        wait_for_previous();
        return false;
    }
    job = p.of(__ldcg(p.tiles + blockIdx.y));
    return true;
}

// What is computed of a tile, by how many choices it has.
#define BY_COUNT(FORMAT, FEW, FEW_ROWS, MORE, MORE_ROWS)  \
    Job job;                                              \
    if (find(p.experts, job)) {                           \
        if (job.count <= FEW_ROWS) {                      \
            FEW<FORMAT, FEW_ROWS / 8>(p, job);            \
        } else {                                          \
            MORE<FORMAT, MORE_ROWS / 8>(p, job);          \
        }                                                 \
    }
// What comes next may look at the routes once these may: they are older.
#define GATED(NAME, THREADS, EACH)                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS, EACH)                       \
        NAME(const __grid_constant__ Gated p) {                                       \
        wait_for_previous();                                                          \
        release_next();
#define PLAIN(NAME)                                                                   \
    extern "C" __global__ void __launch_bounds__(256, 2)                              \
        NAME(const __grid_constant__ Plain p) {                                       \
        release_next();                                                               \
        if (!p.early) {                                                               \
            wait_for_previous();                                                      \
        }
// Grid: groups of as many strips as a block has warps, or `each` times as many; tiles of choices.
#define ALL(NAME, FORMAT)                                                             \
    GATED(strips_gated_16_##NAME, 256, 2)                                             \
        BY_COUNT(FORMAT, gate_and_up, 8, gate_and_up, 16)                             \
    }                                                                                 \
    GATED(strips_gated_32_##NAME, 512, 1)                                             \
        BY_COUNT(FORMAT, gate_then_up, 16, gate_then_up, 32)                          \
    }                                                                                 \
    PLAIN(strips_16_##NAME)                                                           \
        BY_COUNT(FORMAT, product, 8, product, 16)                                     \
    }                                                                                 \
    PLAIN(strips_32_##NAME)                                                           \
        BY_COUNT(FORMAT, product, 16, product, 32)                                    \
    }
FOR_EACH_FORMAT(ALL)
