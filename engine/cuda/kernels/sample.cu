// Draws a token from each row of logits.
#include <cfloat>
#include <cstdint>

#include "device/logprobs.cuh"
#include "device/ranking.cuh"
#include "device/step.cuh"
#include "device/tally.cuh"
#include "ptx/order.cuh"

struct Sample {
    const float* logits;  // [rows, width]
    const Draw* draws;
    uint32_t* drawn;      // [rows]; ~0 where logits are not finite
    Logprobs* logprobs;   // [rows], of those that ask for them
    uint32_t* seats;
    Tallies tallies;
    int width;
};

// Loads of a thread that are under way together.
constexpr int AHEAD = 8;

// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
// Generators", 2014).
__device__ uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// A number of [0, 1), uniform over counters and over seeds.
__device__ double uniform(uint64_t seed, uint32_t counter) {
    constexpr uint64_t GAMMA = 0x9e3779b97f4a7c15ull;
    uint64_t start = mix(seed + GAMMA);
    uint64_t x = mix(start + (static_cast<uint64_t>(counter) + 1) * GAMMA);
    return static_cast<double>(x >> 11) / 9007199254740992.0;
}

// The token at `target` of the mass of all tokens, in the order of ids: strips of ids, a run of them
// for each thread.
template <class Logits>
__device__ uint32_t pick(const Row<Logits>& row, unsigned long long target) {
    Room* room = row.room;
    const int each = (row.width + THREADS - 1) / THREADS;
    const int begin = min(row.width, static_cast<int>(threadIdx.x) * each);
    const int end = min(row.width, begin + each);
    unsigned long long mine = 0;
    for (int i = begin; i < end; ++i) {
        mine += row.mass(key_of(row.logits[i]));
    }
    unsigned long long upto = mine;
    for (int offset = 1; offset < 32; offset *= 2) {
        unsigned long long more = __shfl_up_sync(~0u, upto, offset);
        upto += threadIdx.x % 32 >= offset ? more : 0;
    }
    if (threadIdx.x % 32 == 31) {
        room->sums[threadIdx.x / 32] = upto;
    }
    __syncthreads();
    for (int warp = 0; warp < static_cast<int>(threadIdx.x) / 32; ++warp) {
        upto += room->sums[warp];
    }
    if (upto - mine <= target && target < upto) {
        unsigned long long sum = upto - mine;
        for (int i = begin; i < end; ++i) {
            sum += row.mass(key_of(row.logits[i]));
            if (sum > target) {
                room->digit = i;
                break;
            }
        }
    }
    __syncthreads();
    return room->digit;
}

// The token of one row, to all threads of its block; ~0 where its logits are not finite.
template <class Logits>
__device__ uint32_t draw_token(const Logits& logits, int width, const Draw& draw, Room* room) {
    float most = -INFINITY;
    uint32_t first = NOT_FINITE;
    bool finite = true;
    for (int begin = threadIdx.x; begin < width; begin += AHEAD * THREADS) {
        float ahead[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            int at = begin + i * THREADS;
            ahead[i] = at < width ? logits.raw(at) : -FLT_MAX;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            int at = begin + i * THREADS;
            finite = finite && isfinite(ahead[i]);
            float logit = logits.adjusted(min(at, width - 1), ahead[i]);
            if (logit > most) {
                most = logit, first = at;
            }
        }
    }
    finite = __syncthreads_and(finite);
    // The largest key, and of equal ones the first token.
    auto larger = [](unsigned long long a, unsigned long long b) { return a > b ? a : b; };
    const unsigned long long best = over_block(ranked(key_of(most), first), room->sums, larger);
    if (!finite) {
        return NOT_FINITE;
    }
    if (draw.temperature <= 0.0f) {
        return NOT_FINITE - static_cast<uint32_t>(best);
    }
    const Row<Logits> row = {logits, width, logit_of(best >> 32), draw.temperature, room};
    const Boundary cut = kept(row, draw);
    const double u = uniform(draw.seed, draw.position);
    const unsigned long long total = row.total(cut);
    auto target = static_cast<unsigned long long>(u * static_cast<double>(total));
    target = min(target, total - 1);
    if (draw.top_k == 0 && draw.top_p >= 1.0f && draw.min_p <= 0.0f) {
        return pick(row, target);
    }
    const Boundary at = row.descend(target, [&](uint32_t key) { return row.mass(key); });
    const unsigned long long each = row.mass(at.key);
    return row.tie(at.key, static_cast<uint32_t>((target - at.above) / max(each, 1ull)));
}

// A block for each row.
extern "C" __global__ void __launch_bounds__(THREADS) sample(const __grid_constant__ Sample p) {
    release_next();
    wait_for_previous();
    __shared__ Room room;
    const Draw draw = p.draws[blockIdx.x];
    const float* logits = p.logits + static_cast<size_t>(blockIdx.x) * p.width;
    const uint32_t token =
        draw.penalised
            ? draw_token(Penalised(logits, p.tallies, draw, p.width), p.width, draw, &room)
            : draw_token(Plain{logits}, p.width, draw, &room);
    if (draw.logprobs && token != NOT_FINITE) {
        __syncthreads();
        logprobs(logits, p.width, &room, token, draw.logprobs - 1, p.logprobs + blockIdx.x);
    }
    if (threadIdx.x == 0) {
        // A sequence whose logits were not finite is beyond use: any token will do for it.
        const uint32_t said = token == NOT_FINITE ? 0 : token;
        p.drawn[blockIdx.x] = token;
        p.seats[draw.seat] = said;
        if (draw.penalised) {
            p.tallies.said[static_cast<size_t>(draw.seat) * p.width + said] += 1;
        }
    }
}
