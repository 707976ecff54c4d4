// The choices of many positions in the order of experts, by many blocks: each counts those of its own
// positions, then knows from all counts where they go. What comes out is what `route_sort` gives.
#include "device/route.cuh"
#include "ptx/order.cuh"

// Positions of a block, and words of their bits.
constexpr int GROUP = 256;
constexpr int WORDS = GROUP / 32;
// An odd stride, so that experts are in different banks.
constexpr int STRIDE = WORDS + 1;

extern __shared__ uint32_t room[];

// Who of a block's positions chose whom: a bit for each, at `room`.
__device__ void mark(const Route& p, int first, int choices) {
    for (int i = threadIdx.x; i < p.num_held * STRIDE; i += blockDim.x) {
        room[i] = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < choices; i += blockDim.x) {
        const int position = i / p.chosen;
        const int expert = p.experts[first * p.chosen + i];
        if (expert != ELSEWHERE) {
            atomicOr(room + expert * STRIDE + position / 32, 1u << (position % 32));
        }
    }
    __syncthreads();
}

__device__ __forceinline__ int count(const uint32_t* bits, int words) {
    int sum = 0;
    for (int word = 0; word < words; ++word) {
        sum += __popc(bits[word]);
    }
    return sum;
}

// Grid: groups of positions.
extern "C" __global__ void __launch_bounds__(256) route_count(const __grid_constant__ Route p) {
    release_next();
    wait_for_previous();
    const int first = blockIdx.x * GROUP, positions = min(GROUP, p.positions - first);
    mark(p, first, positions * p.chosen);
    for (int expert = threadIdx.x; expert < p.num_held; expert += blockDim.x) {
        p.counts[blockIdx.x * p.num_held + expert] = count(room + expert * STRIDE, WORDS);
    }
}

// Running sums over experts, by one warp: counts become what comes before each, and tiles likewise.
__device__ void sum_up(const Route& p, int* counts, int* tiles) {
    const int lane = threadIdx.x % 32;
    int before = 0, tiles_before = 0;
    for (int first = 0; first < p.num_held; first += 32) {
        const int expert = first + lane;
        const int mine = expert < p.num_held ? counts[expert] : 0;
        const int my_tiles = (mine + p.tile - 1) / p.tile;
        int sum = mine, sum_tiles = my_tiles;
        for (int offset = 1; offset < 32; offset *= 2) {
            const int more = __shfl_up_sync(~0u, sum, offset);
            const int more_tiles = __shfl_up_sync(~0u, sum_tiles, offset);
            if (lane >= offset) {
                sum += more, sum_tiles += more_tiles;
            }
        }
        if (expert < p.num_held) {
            counts[expert] = before + sum - mine;
            tiles[expert] = tiles_before + sum_tiles - my_tiles;
        }
        before += __shfl_sync(~0u, sum, 31);
        tiles_before += __shfl_sync(~0u, sum_tiles, 31);
    }
    if (lane == 0) {
        counts[p.num_held] = before;
        if (blockIdx.x == 0) {
            *p.num_tiles = tiles_before;
        }
    }
}

// Grid: groups of positions.
extern "C" __global__ void __launch_bounds__(256) route_place(const __grid_constant__ Route p) {
    __shared__ int starts[EXPERTS_MAX + 1], tiles[EXPERTS_MAX], earlier[EXPERTS_MAX];
    release_next();
    wait_for_previous();
    const int first = blockIdx.x * GROUP, positions = min(GROUP, p.positions - first);
    for (int expert = threadIdx.x; expert < p.num_held; expert += blockDim.x) {
        int sum = 0;
        for (int group = 0; group < gridDim.x; ++group) {
            if (group == blockIdx.x) {
                earlier[expert] = sum;
            }
            sum += p.counts[group * p.num_held + expert];
        }
        starts[expert] = sum;
    }
    mark(p, first, positions * p.chosen);
    if (threadIdx.x < 32) {
        sum_up(p, starts, tiles);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < positions * p.chosen; i += blockDim.x) {
        const int mine = i / p.chosen, choice = first * p.chosen + i;
        const int expert = p.experts[choice];
        if (expert == ELSEWHERE) {
            p.places[choice] = ELSEWHERE;
            continue;
        }
        const uint32_t* bits = room + expert * STRIDE;
        const uint32_t before = bits[mine / 32] & ((1u << (mine % 32)) - 1);
        const int nth = earlier[expert] + count(bits, mine / 32) + __popc(before);
        const int place = starts[expert] + nth;
        p.rows[place] = first + mine;
        p.places[choice] = place;
        if (nth % p.tile == 0) {
            const int together = min(p.tile, starts[expert + 1] - place);
            p.tiles[tiles[expert] + nth / p.tile] = make_int4(expert, place, together, 0);
        }
    }
}
