// What the sequence at a seat has said, and what that does to its logits.
#pragma once

#include <cfloat>
#include <cstdint>

#include "step.cuh"

// What a tally knows of a token: how often it was drawn, and two marks.
constexpr uint32_t SAID_GIVEN = 1u << 30;
constexpr uint32_t SAID_BIASED = 1u << 31;
constexpr uint32_t SAID_DRAWN = SAID_GIVEN - 1;

struct Bias {
    uint32_t token;
    float bias;
};

// Biases of a seat by ascending token, after one whose token is their number.
constexpr int BIASES = 1024 + 1;

// Tallies of all seats.
struct Tallies {
    uint32_t* said;  // [seats, vocab]
    Bias* biases;    // [seats, BIASES]
};

// Logits as the model gave them.
struct Plain {
    const float* logits;

    __device__ __forceinline__ float raw(int token) const { return logits[token]; }
    __device__ __forceinline__ float adjusted(int, float logit) const { return logit; }
    __device__ __forceinline__ float operator[](int token) const { return logits[token]; }
};

// Logits after penalties. Every operation rounds by itself, so that the CPU gives the same.
struct Penalised {
    const float* logits;
    const uint32_t* said;
    const Bias* biases;
    float repetition, frequency, presence;

    __device__ Penalised(const float* logits, const Tallies& tallies, const Draw& draw, int vocab)
        : logits(logits),
          said(tallies.said + static_cast<size_t>(draw.seat) * vocab),
          biases(tallies.biases + static_cast<size_t>(draw.seat) * BIASES),
          repetition(draw.repetition),
          frequency(draw.frequency),
          presence(draw.presence) {}

    __device__ float bias(uint32_t token) const {
        int low = 1, high = static_cast<int>(biases[0].token);
        while (low < high) {
            int middle = (low + high) / 2;
            if (biases[middle].token < token) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return biases[low].bias;
    }

    __device__ float raw(int token) const { return logits[token]; }

    __device__ float adjusted(int token, float logit) const {
        const uint32_t known = said[token];
        if (known == 0) {
            return logit;
        }
        if (known & SAID_BIASED) {
            logit = __fadd_rn(logit, bias(token));
        }
        const uint32_t drawn = known & SAID_DRAWN;
        if (known & ~SAID_BIASED) {
            logit = logit > 0.0f ? __fdiv_rn(logit, repetition) : __fmul_rn(logit, repetition);
        }
        if (drawn) {
            logit = __fsub_rn(logit, __fmul_rn(frequency, static_cast<float>(drawn)));
            logit = __fsub_rn(logit, presence);
        }
        return fminf(fmaxf(logit, -FLT_MAX), FLT_MAX);
    }

    __device__ float operator[](int token) const { return adjusted(token, logits[token]); }
};
