// Which experts the positions of a step go to, and the choices in the order of experts. A rank of
// several has some of the experts, next to each other: only choices of these have a place.
#include <cstdint>

#include "device/reduce.cuh"
#include "device/route.cuh"
#include "ptx/order.cuh"

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
        experts[n] = held(p, choices[n].expert);
    }
}

extern __shared__ uint32_t room[];

// A warp for each position; a block of four.
extern "C" __global__ void __launch_bounds__(128) route_choose(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    const int warp = threadIdx.x / 32, position = blockIdx.x * 4 + warp;
    if (position < p.positions) {
        choose(p, position, room_of(p, room, warp), p.experts + position * p.chosen);
    }
}

// Sorts all choices by expert, then by position, by one block: every expert has a bit for every
// position, and what comes before a choice is counted.
extern "C" __global__ void __launch_bounds__(1024) route_sort(const __grid_constant__ Route p) {
    __shared__ int counts[EXPERTS_MAX + 1], tiles[EXPERTS_MAX + 1];
    release_next();
    wait_for_previous();
    // An odd stride, so that experts are in different banks.
    const int lane = threadIdx.x % 32, words = (p.positions + 31) / 32 | 1;
    const int all = p.positions * p.chosen;
    uint32_t* bits = room;
    for (int i = threadIdx.x; i < p.num_held * words; i += 1024) {
        bits[i] = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < all; i += 1024) {
        const int expert = p.experts[i], position = i / p.chosen;
        if (expert != ELSEWHERE) {
            atomicOr(bits + expert * words + position / 32, 1u << (position % 32));
        }
    }
    __syncthreads();
    for (int expert = threadIdx.x; expert < p.num_held; expert += 1024) {
        int count = 0;
        for (int word = 0; word < words; ++word) {
            count += __popc(bits[expert * words + word]);
        }
        counts[expert + 1] = count;
        tiles[expert + 1] = (count + p.tile - 1) / p.tile;
    }
    __syncthreads();
    // Running sums, by one warp: what comes before each expert.
    if (threadIdx.x < 32) {
        int before = 0, tiles_before = 0;
        for (int first = 0; first < p.num_held; first += 32) {
            int expert = first + lane;
            int count = expert < p.num_held ? counts[expert + 1] : 0;
            int tile = expert < p.num_held ? tiles[expert + 1] : 0;
            for (int offset = 1; offset < 32; offset *= 2) {
                int more = __shfl_up_sync(~0u, count, offset);
                int more_tiles = __shfl_up_sync(~0u, tile, offset);
                if (lane >= offset) {
                    count += more, tile += more_tiles;
                }
            }
            __syncwarp();
            if (expert < p.num_held) {
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
    for (int i = threadIdx.x; i < all; i += 1024) {
        const int expert = p.experts[i], position = i / p.chosen;
        if (expert == ELSEWHERE) {
            p.places[i] = ELSEWHERE;
            continue;
        }
        const uint32_t* mine = bits + expert * words;
        int nth = __popc(mine[position / 32] & ((1u << (position % 32)) - 1));
        for (int word = 0; word < position / 32; ++word) {
            nth += __popc(mine[word]);
        }
        const int place = counts[expert] + nth;
        p.rows[place] = position;
        p.places[i] = place;
        if (nth % p.tile == 0) {
            const int count = min(p.tile, counts[expert + 1] - place);
            p.tiles[tiles[expert] + nth / p.tile] = make_int4(expert, place, count, 0);
        }
    }
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
        const uint32_t expert = experts[mine];
        // A position chooses an expert once, and choices are in the order of positions; those of
        // experts elsewhere come last.
        for (int other = 0; other < all; ++other) {
            const uint32_t its = experts[other];
            place += its < expert || (its == expert && other < mine);
            nth += its == expert && other < mine;
            together += its == expert;
        }
        p.rows[place] = mine / p.chosen;
        p.places[mine] = experts[mine] == ELSEWHERE ? ELSEWHERE : place;
        starts[place] = experts[mine] != ELSEWHERE && nth % p.tile == 0;
    }
    __syncthreads();
    if (mine < all) {
        int tile = 0;
        for (int before = 0; before < place; ++before) {
            tile += starts[before];
        }
        if (starts[place]) {
            p.tiles[tile] = make_int4(experts[mine], place, min(p.tile, together - nth), 0);
        }
        if (place + 1 == all) {
            *p.num_tiles = tile + starts[place];
        }
    }
}
