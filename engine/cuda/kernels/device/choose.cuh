// Which experts positions choose, and the choices of few positions in the order of experts.
#pragma once

#include "reduce.cuh"
#include "route.cuh"

struct Choice {
    float share;
    int expert;
};

// The choices of one position, by one warp, each lane with some experts; they go to `experts`, and by
// way of `choices`, which is shared memory, to the weights. A share is a positive float, so that its
// bits are in its order; of equal ones the first expert wins.
template <int EACH>
__device__ __forceinline__ void choose_among(const Route& p, const float* scores, int position,
                                             Choice* choices, int* experts) {
    const int lane = threadIdx.x % 32;
    uint32_t shares[EACH];
    float most = -INFINITY;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        float score = lane + 32 * i < p.num_experts ? scores[lane + 32 * i] : -INFINITY;
        shares[i] = __float_as_uint(score);
        most = fmaxf(most, score);
    }
    most = warp_max(most);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        // What is not a number is larger than all.
        float share = fabsf(expf(__uint_as_float(shares[i]) - most));
        bool there = lane + 32 * i < p.num_experts;
        sum += there ? share : 0.0f;
        // Nothing is left of what was taken.
        shares[i] = there ? __float_as_uint(share) + 1 : 0;
    }
    sum = warp_sum(sum);
    float taken = 0.0f;
    for (int n = 0; n < p.chosen; ++n) {
        uint32_t best = 0, at = ~0u;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            if (shares[i] > best) {
                best = shares[i], at = lane + 32 * i;
            }
        }
        const uint32_t largest = __reduce_max_sync(~0u, best);
        bool mine = best == largest;
        const uint32_t equals = __ballot_sync(~0u, mine);
        if (equals & (equals - 1)) {
            mine = at == __reduce_min_sync(~0u, mine ? at : ~0u);
        }
        const float share = __uint_as_float(largest - 1);
        taken += share;
        if (mine) {
            choices[n] = {share, static_cast<int>(at)};
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                shares[i] = lane + 32 * i == at ? 0 : shares[i];
            }
        }
    }
    __syncwarp();
    const float of = p.normalised ? taken : sum;
    for (int n = lane; n < p.chosen; n += 32) {
        p.weights[position * p.chosen + n] = choices[n].share / of;
        experts[n] = held(p, choices[n].expert);
    }
}

__device__ __forceinline__ void choose(const Route& p, const float* scores, int position,
                                       Choice* choices, int* experts) {
    scores += static_cast<size_t>(position) * p.num_experts;
    if (p.num_experts <= 128) {
        choose_among<4>(p, scores, position, choices, experts);
    } else if (p.num_experts <= 256) {
        choose_among<8>(p, scores, position, choices, experts);
    } else {
        choose_among<EXPERTS_MAX / 32>(p, scores, position, choices, experts);
    }
}

// Chooses and sorts, by one block that has a thread for each choice. A thread counts the choices that
// come before its own. Room: four words for each choice.
__device__ __forceinline__ void route_few(const Route& p, const float* scores, uint32_t* room) {
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, all = p.positions * p.chosen;
    auto choices = reinterpret_cast<Choice*>(room);
    auto experts = reinterpret_cast<int*>(choices + all);
    int* starts = experts + all;
    for (int position = warp; position < p.positions; position += warps) {
        choose(p, scores, position, choices + position * p.chosen, experts + position * p.chosen);
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
#pragma unroll 8
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
#pragma unroll 8
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
