// A step as the device holds it. The same structs stand in `step.rs`.
#pragma once

#include <cstdint>

// A run of positions of one sequence, in the order of the step.
struct Span {
    int first;   // in the step
    int count;
    int start;   // position of the first
    int blocks;  // where its block table begins
};

// The token of a piece that is nobody's.
constexpr int NO_TOKEN = -1;

// What one block computes for a position that is alone in its span.
struct Piece {
    int token;     // in the step
    int position;  // in its sequence
    int blocks;    // where its block table begins
    int chunk;     // of the sequence's positions
    int chunks;    // of them, together
};

struct Draw {
    int token;          // in the step
    int seat;
    uint32_t position;  // that the drawn token will have
    uint32_t top_k;
    uint64_t seed;
    float temperature, top_p, min_p;
    float repetition, frequency, presence;
    uint32_t penalised;  // whether logits are adjusted by the seat's tally
    uint32_t logprobs;   // one more than the alternatives that are wanted; 0: nothing is
    uint32_t unused[2];
};
