// Where choices go in the order of experts, then of positions: every expert has a bit for every
// position of a group, and what comes before a choice is counted.
#pragma once

#include "route.cuh"

// Positions of a group, and words of their bits.
constexpr int GROUP = 256;
constexpr int GROUP_WORDS = GROUP / 32;

// The choices of a group's positions, by a block.
struct Order {
    // An odd number, so that experts are in different banks.
    static constexpr int STRIDE = GROUP_WORDS + 1;
    // Choices that a thread asks for together.
    static constexpr int AT_ONCE = 4;

    const Route& p;
    int first, positions;
    uint32_t* bits;  // [experts][STRIDE]
    int* starts;     // [experts + 1]: how many chose an expert, then how many choices come before
    int* tiles;      // [experts]: how many tiles come before

    __device__ Order(const Route& p, int group, uint32_t* room)
        : p(p), first(group * GROUP), positions(min(GROUP, p.positions - first)), bits(room),
          starts(reinterpret_cast<int*>(room + p.num_held * STRIDE)),
          tiles(starts + p.num_held + 1) {}

    // Who chose whom.
    __device__ void mark() const {
        for (int i = threadIdx.x; i < p.num_held * STRIDE; i += blockDim.x) {
            bits[i] = 0;
        }
        __syncthreads();
        each([this](int choice, int expert) {
            const int position = choice / p.chosen;
            if (expert != ELSEWHERE) {
                atomicOr(bits + expert * STRIDE + position / 32, 1u << (position % 32));
            }
        });
        __syncthreads();
    }

    __device__ __forceinline__ int count(int expert, int words = GROUP_WORDS) const {
        int sum = 0;
        for (int word = 0; word < words; ++word) {
            sum += __popc(bits[expert * STRIDE + word]);
        }
        return sum;
    }

    // Running sums over experts, by the first warp, of what all threads have left at `starts`. Says
    // how many tiles there are.
    __device__ int sum_up() const {
        const int lane = threadIdx.x % 32;
        int before = 0, tiles_before = 0;
        __syncthreads();
        for (int first = 0; first < p.num_held && threadIdx.x < 32; first += 32) {
            const int expert = first + lane;
            const int mine = expert < p.num_held ? starts[expert] : 0;
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
                starts[expert] = before + sum - mine;
                tiles[expert] = tiles_before + sum_tiles - my_tiles;
            }
            before += __shfl_sync(~0u, sum, 31);
            tiles_before += __shfl_sync(~0u, sum_tiles, 31);
        }
        if (threadIdx.x == 0) {
            starts[p.num_held] = before;
        }
        __syncthreads();
        return tiles_before;
    }

    // Places all choices, and tells of the tiles that begin with one. `earlier(expert)` of an
    // expert's choices are of groups before.
    template <class Earlier>
    __device__ void place(Earlier earlier) const {
        each([&](int mine, int expert) {
            const int choice = first * p.chosen + mine, position = mine / p.chosen;
            if (expert == ELSEWHERE) {
                p.places[choice] = ELSEWHERE;
                return;
            }
            const uint32_t before =
                bits[expert * STRIDE + position / 32] & ((1u << (position % 32)) - 1);
            const int nth = earlier(expert) + count(expert, position / 32) + __popc(before);
            const int place = starts[expert] + nth;
            p.rows[place] = first + position;
            p.places[choice] = place;
            if (nth % p.tile == 0) {
                const int together = min(p.tile, starts[expert + 1] - place);
                p.tiles[tiles[expert] + nth / p.tile] = make_int4(expert, place, together, 0);
            }
        });
    }

    // All of it, where there is one group.
    __device__ void sort() const {
        mark();
        for (int expert = threadIdx.x; expert < p.num_held; expert += blockDim.x) {
            starts[expert] = count(expert);
        }
        const int num_tiles = sum_up();
        if (threadIdx.x == 0) {
            *p.num_tiles = num_tiles;
        }
        place([](int) { return 0; });
    }

private:
    // Calls `what` with every choice of the group, and its expert. Others may have written it in the
    // same kernel.
    template <class What>
    __device__ __forceinline__ void each(What what) const {
        const int all = positions * p.chosen, step = blockDim.x;
        const int* experts = p.experts + static_cast<size_t>(first) * p.chosen;
        for (int i = threadIdx.x; i < all; i += AT_ONCE * step) {
            int expert[AT_ONCE];
#pragma unroll
            for (int n = 0; n < AT_ONCE; ++n) {
                expert[n] = i + n * step < all ? __ldcg(experts + i + n * step) : ELSEWHERE;
            }
#pragma unroll
            for (int n = 0; n < AT_ONCE; ++n) {
                if (i + n * step < all) {
                    what(i + n * step, expert[n]);
                }
            }
        }
    }
};
