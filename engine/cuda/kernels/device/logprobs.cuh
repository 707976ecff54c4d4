// Logarithms of probabilities, of the drawn token and of the most likely ones.
#pragma once

#include "ranking.cuh"

constexpr int LOGPROBS = 20;

// What the host reads.
struct Logprobs {
    float drawn;
    float top[LOGPROBS];
    uint32_t tokens[LOGPROBS];
};

// Of the logits as the model gave them; all threads of the block take part.
__device__ inline void logprobs(const float* logits, int width, Room* room, uint32_t drawn, int top,
                                Logprobs* out) {
    float most = -INFINITY;
    for (int i = threadIdx.x; i < width; i += THREADS) {
        most = fmaxf(most, logits[i]);
    }
    auto larger = [](float a, float b) { return fmaxf(a, b); };
    most = over_block(most, room->floats, larger);
    double sum = 0.0;
    for (int i = threadIdx.x; i < width; i += THREADS) {
        sum += static_cast<double>(expf(logits[i] - most));
    }
    auto add = [](double a, double b) { return a + b; };
    const double rest = static_cast<double>(most) + log(over_block(sum, room->doubles, add));
    if (threadIdx.x == 0) {
        out->drawn = static_cast<float>(static_cast<double>(logits[drawn]) - rest);
    }
    top = min(top, width);
    if (top == 0) {
        return;
    }
    const Row<Plain> row = {{logits}, width, most, 1.0f, room};
    const Boundary last = row.descend(top - 1, [](uint32_t) { return 1ull; });
    const int above = static_cast<int>(last.above);
    if (threadIdx.x == 0) {
        room->digit = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += THREADS) {
        const uint32_t key = key_of(logits[i]);
        if (key > last.key) {
            room->top[atomicAdd(&room->digit, 1u)] = ranked(key, i);
        }
    }
    for (int i = above; i < top; ++i) {
        const uint32_t token = row.tie(last.key, i - above);
        if (threadIdx.x == 0) {
            room->top[i] = ranked(last.key, token);
        }
    }
    __syncthreads();
    if (threadIdx.x < top) {
        // As many are before it as are larger.
        const unsigned long long mine = room->top[threadIdx.x];
        int place = 0;
        for (int i = 0; i < top; ++i) {
            place += room->top[i] > mine;
        }
        const uint32_t token = NOT_FINITE - static_cast<uint32_t>(mine);
        out->tokens[place] = token;
        out->top[place] = static_cast<float>(static_cast<double>(logits[token]) - rest);
    }
}
