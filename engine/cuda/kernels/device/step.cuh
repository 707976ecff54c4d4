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

// Stretches of a position that is alone in its span, for one block. Where a position has several
// pieces, each of its stretches has a slot for what comes of it; those of the first piece, folded,
// have the first one together.
struct Piece {
    int token;     // in the step
    int position;  // in its sequence
    int blocks;    // where its block table begins
    int begin;     // stretches
    int end;
    int pieces;    // of the position
    int slot;      // the position's first
    int folded;    // the last stretch of the first piece
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
