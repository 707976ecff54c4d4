// Draws a token from each row of logits.
//
// Tokens are ranked by logit, ids where equal. Each filter keeps the start of that ranking, so it is
// told by a boundary: a logit, and how many tokens of just that logit stay. Boundaries are found byte
// by byte from the top, with a histogram each time: of tokens for `top_k`, of probability for
// `top_p` and for the draw itself. Probabilities are summed as whole numbers, so that no order of
// threads shows.
#include <cfloat>
#include <cstdint>

#include "device/step.cuh"
#include "ptx/order.cuh"

struct Sample {
    const float* logits;  // [rows, width]
    const Draw* draws;
    uint32_t* drawn;      // [rows]; ~0 where logits are not finite
    uint32_t* seats;
    int width;
};

constexpr int THREADS = 1024;
constexpr uint32_t NOT_FINITE = ~0u;
// Loads of a thread that are under way together.
constexpr int AHEAD = 8;

struct Room {
    unsigned long long histogram[256];
    unsigned long long sums[THREADS / 32];
    uint32_t words[THREADS / 32];
    uint32_t digit;
    unsigned long long above;
};

// Larger for larger logits.
__device__ __forceinline__ uint32_t key_of(float logit) {
    uint32_t bits = __float_as_uint(logit + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
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

struct Row {
    const float* logits;
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

__device__ bool earlier(Boundary a, Boundary b) {
    return a.key > b.key || (a.key == b.key && a.ties < b.ties);
}

// Where the filters of a draw cut the ranking.
__device__ Boundary kept(const Row& row, const Draw& draw) {
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

// A block for each row.
extern "C" __global__ void __launch_bounds__(THREADS) sample(const __grid_constant__ Sample p) {
    release_next();
    wait_for_previous();
    __shared__ Room room;
    const Draw draw = p.draws[blockIdx.x];
    const float* logits = p.logits + static_cast<size_t>(blockIdx.x) * p.width;
    float most = -INFINITY;
    uint32_t first = NOT_FINITE;
    bool finite = true;
    for (int begin = threadIdx.x; begin < p.width; begin += AHEAD * THREADS) {
        float ahead[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            int at = begin + i * THREADS;
            ahead[i] = at < p.width ? logits[at] : -FLT_MAX;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            finite = finite && isfinite(ahead[i]);
            if (ahead[i] > most) {
                most = ahead[i], first = begin + i * THREADS;
            }
        }
    }
    finite = __syncthreads_and(finite);
    // The largest key, and of equal ones the first token.
    auto larger = [](unsigned long long a, unsigned long long b) { return a > b ? a : b; };
    unsigned long long best =
        static_cast<unsigned long long>(key_of(most)) << 32 | (NOT_FINITE - first);
    best = over_block(best, room.sums, larger);
    uint32_t token = NOT_FINITE - static_cast<uint32_t>(best);
    if (!finite) {
        token = NOT_FINITE;
    } else if (draw.temperature > 0.0f) {
        const Row row = {logits, p.width, logit_of(best >> 32), draw.temperature, &room};
        const Boundary cut = kept(row, draw);
        const double u = uniform(draw.seed, draw.position);
        const unsigned long long total = row.total(cut);
        auto target = static_cast<unsigned long long>(u * static_cast<double>(total));
        target = min(target, total - 1);
        const bool all = draw.top_k == 0 && draw.top_p >= 1.0f && draw.min_p <= 0.0f;
        if (all) {
            // In the order of ids: strips of ids, a run of them for each thread.
            const int each = (p.width + THREADS - 1) / THREADS;
            const int begin = min(p.width, static_cast<int>(threadIdx.x) * each);
            const int end = min(p.width, begin + each);
            unsigned long long mine = 0;
            for (int i = begin; i < end; ++i) {
                mine += row.mass(key_of(logits[i]));
            }
            unsigned long long upto = mine;
            for (int offset = 1; offset < 32; offset *= 2) {
                unsigned long long more = __shfl_up_sync(~0u, upto, offset);
                upto += threadIdx.x % 32 >= offset ? more : 0;
            }
            if (threadIdx.x % 32 == 31) {
                room.sums[threadIdx.x / 32] = upto;
            }
            __syncthreads();
            for (int warp = 0; warp < static_cast<int>(threadIdx.x) / 32; ++warp) {
                upto += room.sums[warp];
            }
            if (upto - mine <= target && target < upto) {
                unsigned long long sum = upto - mine;
                for (int i = begin; i < end; ++i) {
                    sum += row.mass(key_of(logits[i]));
                    if (sum > target) {
                        room.digit = i;
                        break;
                    }
                }
            }
            __syncthreads();
            token = room.digit;
        } else {
            Boundary at = row.descend(target, [&](uint32_t key) { return row.mass(key); });
            unsigned long long each = row.mass(at.key);
            token = row.tie(at.key, static_cast<uint32_t>((target - at.above) / max(each, 1ull)));
        }
    }
    if (threadIdx.x == 0) {
        p.drawn[blockIdx.x] = token;
        // A sequence whose logits were not finite is beyond use: any token will do for it.
        p.seats[draw.seat] = token == NOT_FINITE ? 0 : token;
    }
}
