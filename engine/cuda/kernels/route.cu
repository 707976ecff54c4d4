// Which experts the positions of a step go to, and the choices in the order of experts.
#include <cstdint>

#include "device/reduce.cuh"
#include "ptx/order.cuh"

constexpr int EXPERTS_MAX = 1024;

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
    int kept;             // positions whose choices fit into a block's shared memory, or none
    __device__ int words() const { return (num_experts + 31) / 32; }
};

struct Choice {
    float share;
    int expert;
};

// Room for one position: its shares, then its choices.
__device__ __forceinline__ uint32_t* room_of(const Route& p, uint32_t* room, int which) {
    return room + which * (p.num_experts + 2 * p.chosen);
}

// One position, by one warp; its experts go to `experts`. A share is a positive float, so that its
// bits are in its order; of equal ones the first expert wins.
__device__ void choose(const Route& p, int position, uint32_t* shares, int* experts) {
    const int lane = threadIdx.x % 32;
    auto choices = reinterpret_cast<Choice*>(shares + p.num_experts);
    const float* scores = p.scores + static_cast<size_t>(position) * p.num_experts;
    float most = -INFINITY;
    for (int i = lane; i < p.num_experts; i += 32) {
        shares[i] = __float_as_uint(scores[i]);
        most = fmaxf(most, __uint_as_float(shares[i]));
    }
    most = warp_max(most);
    float sum = 0.0f;
    for (int i = lane; i < p.num_experts; i += 32) {
        // What is not a number is larger than all.
        float share = fabsf(expf(__uint_as_float(shares[i]) - most));
        sum += share;
        // Nothing is left of what was taken.
        shares[i] = __float_as_uint(share) + 1;
    }
    sum = warp_sum(sum);
    float taken = 0.0f;
    for (int n = 0; n < p.chosen; ++n) {
        uint32_t best = 0, at = ~0u;
        for (int i = lane; i < p.num_experts; i += 32) {
            if (shares[i] > best) {
                best = shares[i], at = i;
            }
        }
        const uint32_t largest = __reduce_max_sync(~0u, best);
        const uint32_t expert = __reduce_min_sync(~0u, best == largest ? at : ~0u);
        const float share = __uint_as_float(largest - 1);
        taken += share;
        if (at == expert) {
            shares[expert] = 0;
        }
        if (lane == n % 32) {
            choices[n] = {share, static_cast<int>(expert)};
        }
        __syncwarp();
    }
    const float of = p.normalised ? taken : sum;
    for (int n = lane; n < p.chosen; n += 32) {
        p.weights[position * p.chosen + n] = choices[n].share / of;
        experts[n] = choices[n].expert;
    }
}

// Sorts all choices by expert, then by position, by one block of 32 warps.
__device__ void sort(const Route& p, const int* experts, const uint32_t* masks) {
    __shared__ int counts[EXPERTS_MAX + 1], tiles[EXPERTS_MAX + 1];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, words = p.words();
    auto strip = [&](int expert, int first) {
        int position = first + lane;
        bool chosen = position < p.positions &&
                      masks[static_cast<size_t>(position) * words + expert / 32] >>
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
        for (int first = 0; first < p.positions && place < end; first += 32) {
            uint32_t chosen = strip(expert, first);
            if (chosen >> lane & 1) {
                int mine = place + __popc(chosen & ((1u << lane) - 1)), position = first + lane;
                p.rows[mine] = position;
                for (int n = 0; n < p.chosen; ++n) {
                    if (experts[position * p.chosen + n] == expert) {
                        p.places[position * p.chosen + n] = mine;
                    }
                }
            }
            place += __popc(chosen);
        }
    }
}

extern __shared__ uint32_t room[];

// A warp for each position; a block of four.
extern "C" __global__ void __launch_bounds__(128) route_choose(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int position = blockIdx.x * 4 + warp;
    if (position >= p.positions) {
        return;
    }
    int* experts = p.experts + position * p.chosen;
    choose(p, position, room_of(p, room, warp), experts);
    __syncwarp();
    if (lane < p.words()) {
        uint32_t mask = 0;
        for (int n = 0; n < p.chosen; ++n) {
            mask |= experts[n] / 32 == lane ? 1u << (experts[n] % 32) : 0;
        }
        p.masks[static_cast<size_t>(position) * p.words() + lane] = mask;
    }
}

// One block.
extern "C" __global__ void __launch_bounds__(1024) route_sort(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    const uint32_t* masks = p.masks;
    const int* experts = p.experts;
    if (p.positions <= p.kept) {
        const int words = p.positions * p.words();
        auto kept = reinterpret_cast<int*>(room + words);
        for (int i = threadIdx.x; i < words; i += 1024) {
            room[i] = p.masks[i];
        }
        for (int i = threadIdx.x; i < p.positions * p.chosen; i += 1024) {
            kept[i] = p.experts[i];
        }
        masks = room, experts = kept;
        __syncthreads();
    }
    sort(p, experts, masks);
}

// Both, for few positions: a warp for each, then a thread for each choice, which counts those that
// come before it.
extern "C" __global__ void __launch_bounds__(1024) route_few(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    const int warp = threadIdx.x / 32, all = p.positions * p.chosen;
    auto experts = reinterpret_cast<int*>(room);
    int* starts = experts + all;
    if (warp < p.positions) {
        choose(p, warp, room_of(p, reinterpret_cast<uint32_t*>(starts + all), warp),
               experts + warp * p.chosen);
    }
    __syncthreads();
    const int mine = threadIdx.x;
    if (all == 0 && mine == 0) {
        *p.num_tiles = 0;
    }
    int place = 0, nth = 0, together = 0;
    if (mine < all) {
        const int expert = experts[mine];
        // A position chooses an expert once, and choices are in the order of positions.
        for (int other = 0; other < all; ++other) {
            const int its = experts[other];
            place += its < expert || (its == expert && other < mine);
            nth += its == expert && other < mine;
            together += its == expert;
        }
        p.rows[place] = mine / p.chosen;
        p.places[mine] = place;
        starts[place] = nth % p.tile == 0;
    }
    __syncthreads();
    if (mine < all) {
        int tile = 0;
        for (int before = 0; before < place; ++before) {
            tile += starts[before];
        }
        if (nth % p.tile == 0) {
            p.tiles[tile] = make_int4(experts[mine], place, min(p.tile, together - nth), 0);
        }
        if (place + 1 == all) {
            *p.num_tiles = tile + starts[place];
        }
    }
}
