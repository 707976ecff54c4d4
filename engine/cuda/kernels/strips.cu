// Products of experts, of which each has a few choices: gate and up with the activation, and others.
#include "device/experts.cuh"
#include "device/strips.cuh"

extern __shared__ __align__(128) uint8_t room[];

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
template <class Format>
constexpr int AHEAD_OF_ONE = WIDE<Format> ? 3 : 6;

// Two strips at a time: one of gate, and the one of up that belongs to it.
template <class Format, int NT>
__device__ __forceinline__ void gate_and_up(const GatedExperts& p, const Job& job) {
    const int width = job.outputs / 2, strips = width / UNIT_OUTPUTS;
    Strips<Format, 2, NT, AHEAD_OF_TWO<Format, NT>> mine(job, strips, 1, strips);
    mine.start();
    const Rows rows = mine.bring(room);
    mine.multiply(rows, [&](int strip, const float (&sums)[2][NT][4]) {
        const int lane = threadIdx.x % 32;
        bf16* out = p.out + static_cast<size_t>(job.first) * width + strip * UNIT_OUTPUTS;
#pragma unroll
        for (int i = 0; i < NT * 2; ++i) {
            const float(&gate)[4] = sums[0][i / 2], (&up)[4] = sums[1][i / 2];
            const int first = i % 2 * 2, row = i / 2 * 8 + lane / 4;
            const __nv_bfloat162 both(gated(gate[first], up[first], p.gelu),
                                      gated(gate[first + 1], up[first + 1], p.gelu));
            const uint32_t turned = transposed(*reinterpret_cast<const uint32_t*>(&both));
            if (row < job.count) {
                bf16* to = out + static_cast<size_t>(row) * width + i % 2 * 8 + lane % 4 * 2;
                *reinterpret_cast<uint32_t*>(to) = turned;
            }
        }
    });
}

template <class Format, int NT>
__device__ __forceinline__ void product(const Plain& p, const Job& job) {
    const int strips = (job.outputs + UNIT_OUTPUTS - 1) / UNIT_OUTPUTS;
    Strips<Format, 1, NT, AHEAD_OF_ONE<Format>> mine(job, strips, p.each, 0);
    mine.start();
    if (p.early) {
        wait_for_previous();
    }
    const Rows rows = mine.bring(room);
    mine.multiply(rows, [&](int strip, const float (&sums)[1][NT][4]) {
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
#define BY_COUNT(WHAT, FORMAT)        \
    Job job;                          \
    if (find(p.experts, job)) {       \
        if (job.count <= 8) {         \
            WHAT<FORMAT, 1>(p, job);  \
        } else {                      \
            WHAT<FORMAT, 2>(p, job);  \
        }                             \
    }
// Grid: groups of as many strips as a block has warps, or `each` times as many; tiles of choices.
#define ALL(NAME, FORMAT)                                                           \
    extern "C" __global__ void __launch_bounds__(256, 2)                            \
        strips_gated_##NAME(const __grid_constant__ GatedExperts p) {               \
        wait_for_previous();                                                        \
        /* What comes next may look at the routes now: they are older than this. */ \
        release_next();                                                             \
        BY_COUNT(gate_and_up, FORMAT)                                               \
    }                                                                               \
    extern "C" __global__ void __launch_bounds__(256, 2)                            \
        strips_##NAME(const __grid_constant__ Plain p) {                            \
        release_next();                                                             \
        if (!p.early) {                                                             \
            wait_for_previous();                                                    \
        }                                                                           \
        BY_COUNT(product, FORMAT)                                                   \
    }
FOR_EACH_FORMAT(ALL)
