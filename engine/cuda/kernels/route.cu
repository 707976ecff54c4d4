// Which experts the positions of a step go to, and the choices in the order of experts. A rank of
// several has some of the experts, next to each other: only choices of these have a place.
#include "device/choose.cuh"
#include "ptx/order.cuh"

extern __shared__ uint32_t room[];

// A warp for each position; a block of four.
extern "C" __global__ void __launch_bounds__(128) route_choose(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    const int warp = threadIdx.x / 32, position = blockIdx.x * 4 + warp;
    if (position < p.positions) {
        auto choices = reinterpret_cast<Choice*>(room) + warp * p.chosen;
        choose(p, p.scores, position, choices, p.experts + position * p.chosen);
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

// Both, for few positions.
extern "C" __global__ void __launch_bounds__(1024)
    route_few_positions(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    route_few(p, p.scores, room);
}
