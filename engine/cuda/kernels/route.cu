// Which experts the positions of a step go to, and the choices in the order of experts.
#include <cstdint>

#include "device/reduce.cuh"

constexpr int EXPERTS_MAX = 1024;
constexpr int WORDS_MAX = EXPERTS_MAX / 32;

struct Route {
    const float* scores;  // [positions, experts]
    float* weights;       // [positions, chosen], the largest first
    int* experts;         // [positions, chosen]
    uint32_t* masks;      // [positions, words]: who chose whom
    int* places;          // [positions, chosen]: the place of each choice in the order
    int* rows;            // [choices]: the position of each
    int4* tiles;          // expert, first choice, number of choices
    int* num_tiles;
    int positions, num_experts, chosen, normalised;
    int tile;             // most choices in a tile
};

// A warp for each position; a block of four.
extern "C" __global__ void __launch_bounds__(128) route_choose(const __grid_constant__ Route p) {
    __shared__ float shares[4][EXPERTS_MAX];
    __shared__ uint32_t marks[4][WORDS_MAX];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int position = blockIdx.x * 4 + warp, words = (p.num_experts + 31) / 32;
    if (position >= p.positions) {
        return;
    }
    const float* scores = p.scores + static_cast<size_t>(position) * p.num_experts;
    float most = -INFINITY;
    for (int i = lane; i < p.num_experts; i += 32) {
        most = fmaxf(most, scores[i]);
    }
    most = warp_max(most);
    float sum = 0.0f;
    for (int i = lane; i < p.num_experts; i += 32) {
        shares[warp][i] = expf(scores[i] - most);
        sum += shares[warp][i];
    }
    sum = warp_sum(sum);
    for (int i = lane; i < words; i += 32) {
        marks[warp][i] = 0;
    }
    __syncwarp();
    float taken = 0.0f;
    for (int n = 0; n < p.chosen; ++n) {
        float best = -1.0f;
        int expert = EXPERTS_MAX;
        for (int i = lane; i < p.num_experts; i += 32) {
            // What is not a number is never larger; then the first that is left will do.
            bool left = !(marks[warp][i / 32] >> (i % 32) & 1);
            if (left && (shares[warp][i] > best || expert == EXPERTS_MAX)) {
                best = shares[warp][i], expert = i;
            }
        }
        for (int offset = 16; offset > 0; offset /= 2) {
            float other = __shfl_xor_sync(~0u, best, offset);
            int index = __shfl_xor_sync(~0u, expert, offset);
            if (index < EXPERTS_MAX && (expert == EXPERTS_MAX || other > best ||
                                        (!(best > other) && index < expert))) {
                best = other, expert = index;
            }
        }
        expert = __shfl_sync(~0u, expert, 0), best = __shfl_sync(~0u, best, 0);
        taken += best;
        if (lane == 0) {
            marks[warp][expert / 32] |= 1u << (expert % 32);
            p.experts[position * p.chosen + n] = expert;
            p.weights[position * p.chosen + n] = best;
        }
        __syncwarp();
    }
    const float of = p.normalised ? taken : sum;
    for (int n = lane; n < p.chosen; n += 32) {
        p.weights[position * p.chosen + n] /= of;
    }
    for (int i = lane; i < words; i += 32) {
        p.masks[static_cast<size_t>(position) * words + i] = marks[warp][i];
    }
}

// One block, which sorts all choices by expert, then by position.
extern "C" __global__ void __launch_bounds__(1024) route_sort(const __grid_constant__ Route p) {
    __shared__ int counts[EXPERTS_MAX + 1], tiles[EXPERTS_MAX + 1];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, words = (p.num_experts + 31) / 32;
    auto strip = [&](int expert, int first) {
        int position = first + lane;
        bool chosen = position < p.positions &&
                      p.masks[static_cast<size_t>(position) * words + expert / 32] >>
                              (expert % 32) & 1;
        return __ballot_sync(~0u, chosen);
    };
    for (int expert = warp; expert < p.num_experts; expert += 32) {
        int count = 0;
        for (int first = 0; first < p.positions; first += 32) {
            count += __popc(strip(expert, first));
        }
        if (lane == 0) {
            counts[expert + 1] = count;
            tiles[expert + 1] = (count + p.tile - 1) / p.tile;
        }
    }
    __syncthreads();
    // Running sums, by one warp: what comes before each expert.
    if (warp == 0) {
        int before = 0, tiles_before = 0;
        for (int first = 0; first < p.num_experts; first += 32) {
            int expert = first + lane;
            int count = expert < p.num_experts ? counts[expert + 1] : 0;
            int tile = expert < p.num_experts ? tiles[expert + 1] : 0;
            for (int offset = 1; offset < 32; offset *= 2) {
                int more = __shfl_up_sync(~0u, count, offset);
                int more_tiles = __shfl_up_sync(~0u, tile, offset);
                if (lane >= offset) {
                    count += more, tile += more_tiles;
                }
            }
            __syncwarp();
            if (expert < p.num_experts) {
                counts[expert + 1] = before + count;
                tiles[expert + 1] = tiles_before + tile;
            }
            before += __shfl_sync(~0u, count, 31);
            tiles_before += __shfl_sync(~0u, tile, 31);
        }
        if (lane == 0) {
            counts[0] = tiles[0] = 0;
            *p.num_tiles = tiles_before;
        }
    }
    __syncthreads();
    for (int expert = warp; expert < p.num_experts; expert += 32) {
        int begin = counts[expert], end = counts[expert + 1], place = begin;
        for (int i = lane; i < tiles[expert + 1] - tiles[expert]; i += 32) {
            int first = begin + i * p.tile;
            p.tiles[tiles[expert] + i] = make_int4(expert, first, min(p.tile, end - first), 0);
        }
        for (int first = 0; first < p.positions; first += 32) {
            uint32_t chosen = strip(expert, first);
            if (chosen >> lane & 1) {
                int mine = place + __popc(chosen & ((1u << lane) - 1)), position = first + lane;
                p.rows[mine] = position;
                for (int n = 0; n < p.chosen; ++n) {
                    if (p.experts[position * p.chosen + n] == expert) {
                        p.places[position * p.chosen + n] = mine;
                    }
                }
            }
            place += __popc(chosen);
        }
    }
}
