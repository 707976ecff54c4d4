// Tokens ranked by logit, ids where equal, and where that is cut.
//
// Each filter keeps the start of the ranking, so it is told by a boundary: a logit, and how many
// tokens of just that logit stay. Boundaries are found byte by byte from the top, with a histogram
// each time: of tokens for `top_k`, of probability for `top_p` and for the draw itself. Probabilities
// are summed as whole numbers, so that no order of threads shows.
#pragma once

#include <cfloat>
#include <cstdint>

#include "step.cuh"
#include "tally.cuh"

constexpr int THREADS = 1024;
constexpr uint32_t NOT_FINITE = ~0u;

struct Room {
    unsigned long long histogram[256];
    unsigned long long sums[THREADS / 32];
    uint32_t words[THREADS / 32];
    float floats[THREADS / 32];
    double doubles[THREADS / 32];
    uint32_t digit;
    unsigned long long above;
    unsigned long long top[32];
};

// Larger for larger logits.
__device__ __forceinline__ uint32_t key_of(float logit) {
    uint32_t bits = __float_as_uint(logit + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Larger for larger keys, and of equal ones for lower tokens.
__device__ __forceinline__ unsigned long long ranked(uint32_t key, uint32_t token) {
    return static_cast<unsigned long long>(key) << 32 | (NOT_FINITE - token);
}

__device__ __forceinline__ float logit_of(uint32_t key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// What a token weighs beside the likeliest one, in units of 2^-44: a whole vocabulary fits.
__device__ __forceinline__ unsigned long long mass_of(float logit, float most, float temperature) {
    return static_cast<unsigned long long>(expf((logit - most) / temperature) * 17592186044416.0f);
}

// Where a ranking is cut: after `ties` tokens of `key`.
struct Boundary {
    uint32_t key;
    uint32_t ties;
    unsigned long long above;  // of tokens with larger keys: their number, or their mass
};

template <class T, class Op>
__device__ T over_block(T x, T* parts, Op op) {
    for (int offset = 16; offset > 0; offset /= 2) {
        x = op(x, __shfl_xor_sync(~0u, x, offset));
    }
    if (threadIdx.x % 32 == 0) {
        parts[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = parts[threadIdx.x % 32];
    for (int offset = 16; offset > 0; offset /= 2) {
        x = op(x, __shfl_xor_sync(~0u, x, offset));
    }
    __syncthreads();
    return x;
}

template <class Logits>
struct Row {
    Logits logits;
    int width;
    float most, temperature;
    Room* room;

    // The first key, from the largest on, at which the sum of what `weight` gives exceeds `target`.
    template <class Weight>
    __device__ Boundary descend(unsigned long long target, Weight weight) const {
        uint32_t prefix = 0;
        unsigned long long above = 0;
        for (int shift = 24; shift >= 0; shift -= 8) {
            for (int i = threadIdx.x; i < 256; i += THREADS) {
                room->histogram[i] = 0;
            }
            __syncthreads();
            for (int i = threadIdx.x; i < width; i += THREADS) {
                uint32_t key = key_of(logits[i]);
                if (shift == 24 || key >> (shift + 8) == prefix) {
                    unsigned long long amount = weight(key);
                    if (amount) {
                        atomicAdd(&room->histogram[key >> shift & 255], amount);
                    }
                }
            }
            __syncthreads();
            if (threadIdx.x == 0) {
                int digit = 255, last = 255;
                unsigned long long sum = above;
                for (; digit >= 0; --digit) {
                    if (room->histogram[digit]) {
                        last = digit;
                        if (sum + room->histogram[digit] > target) {
                            break;
                        }
                        sum += room->histogram[digit];
                    }
                }
                // A target beyond everything is the last that there is.
                room->digit = digit >= 0 ? digit : last;
                room->above = digit >= 0 ? sum : sum - room->histogram[last];
            }
            __syncthreads();
            prefix = prefix << 8 | room->digit;
            above = room->above;
            __syncthreads();
        }
        return {prefix, 0, above};
    }

    __device__ unsigned long long mass(uint32_t key) const {
        return mass_of(logit_of(key), most, temperature);
    }

    // Of the tokens up to a boundary.
    __device__ unsigned long long total(Boundary at) const {
        unsigned long long sum = 0;
        for (int i = threadIdx.x; i < width; i += THREADS) {
            uint32_t key = key_of(logits[i]);
            sum += key > at.key ? mass(key) : 0;
        }
        auto add = [](unsigned long long a, unsigned long long b) { return a + b; };
        return over_block(sum, room->sums, add) + at.ties * mass(at.key);
    }

    // The `nth` token of those with this key.
    __device__ uint32_t tie(uint32_t key, uint32_t nth) const {
        // Threads take strips of ids in turn, and count what is in the strips before.
        uint32_t before = 0;
        for (int first = 0; first < width; first += THREADS) {
            int i = first + threadIdx.x;
            bool equal = i < width && key_of(logits[i]) == key;
            uint32_t ballot = __ballot_sync(~0u, equal);
            if (threadIdx.x % 32 == 0) {
                room->words[threadIdx.x / 32] = ballot;
            }
            __syncthreads();
            for (int warp = 0; warp < THREADS / 32; ++warp) {
                uint32_t here = __popc(room->words[warp]);
                if (nth < before + here) {
                    uint32_t bits = room->words[warp];
                    for (uint32_t skip = nth - before; skip > 0; --skip) {
                        bits &= bits - 1;
                    }
                    __syncthreads();
                    return first + warp * 32 + __ffs(bits) - 1;
                }
                before += here;
            }
            __syncthreads();
        }
        return 0;
    }
};

__device__ inline bool earlier(Boundary a, Boundary b) {
    return a.key > b.key || (a.key == b.key && a.ties < b.ties);
}

// Where the filters of a draw cut the ranking.
template <class Logits>
__device__ Boundary kept(const Row<Logits>& row, const Draw& draw) {
    Boundary all = {0, 0, 0};
    if (draw.top_k > 0 && draw.top_k < row.width) {
        all = row.descend(draw.top_k - 1, [](uint32_t) { return 1ull; });
        all.ties = draw.top_k - static_cast<uint32_t>(all.above);
    }
    Boundary cut = all;
    if (draw.top_p < 1.0f) {
        double share = draw.top_p > 0.0f ? draw.top_p : 0.0;
        auto target = static_cast<unsigned long long>(ceil(share * row.total(all)));
        // The sum reaches the target where it exceeds what is just below it.
        unsigned long long below = target > 0 ? target - 1 : 0;
        Boundary nucleus = row.descend(below, [&](uint32_t key) { return row.mass(key); });
        unsigned long long each = row.mass(nucleus.key);
        nucleus.ties = each ? static_cast<uint32_t>((below - nucleus.above) / each) + 1 : 1;
        cut = earlier(nucleus, cut) ? nucleus : cut;
    }
    if (draw.min_p > 0.0f) {
        // The smallest key that is likely enough, with all of its ties.
        const float least = fminf(draw.min_p, 1.0f);
        uint32_t smallest = NOT_FINITE;
        for (int i = threadIdx.x; i < row.width; i += THREADS) {
            float logit = row.logits[i];
            if (expf((logit - row.most) / row.temperature) >= least) {
                smallest = min(smallest, key_of(logit));
            }
        }
        auto lower = [](uint32_t a, uint32_t b) { return min(a, b); };
        smallest = over_block(smallest, row.room->words, lower);
        uint32_t ties = 0;
        for (int i = threadIdx.x; i < row.width; i += THREADS) {
            ties += key_of(row.logits[i]) == smallest;
        }
        auto add = [](uint32_t a, uint32_t b) { return a + b; };
        Boundary likely = {smallest, over_block(ties, row.room->words, add), 0};
        cut = earlier(likely, cut) ? likely : cut;
    }
    return cut;
}
