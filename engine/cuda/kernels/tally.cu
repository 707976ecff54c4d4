// Begins tallies anew: what a sequence said before the token that its seat draws next.
#include <cstdint>

#include "device/tally.cuh"
#include "ptx/order.cuh"

// A piece of a text. The first of a text empties the tally, and brings the biases.
struct TextPiece {
    uint32_t seat;
    uint32_t first;   // whether it is
    uint32_t from;    // words from the start
    uint32_t count;   // of tokens, after which come `biases` pairs
    uint32_t given;   // how many of the tokens belong to the prompt
    uint32_t biases;
};

struct Telling {
    const uint32_t* packed;  // pinned host memory: pieces, then what they tell
    Tallies tallies;
    int vocab;
};

__device__ TextPiece piece_of(const uint32_t* packed) {
    const uint32_t* at = packed + blockIdx.y * (sizeof(TextPiece) / sizeof(uint32_t));
    return {at[0], at[1], at[2], at[3], at[4], at[5]};
}

extern "C" __global__ void __launch_bounds__(256) tally_empty(const __grid_constant__ Telling p) {
    release_next();
    wait_for_previous();
    const TextPiece piece = piece_of(p.packed);
    if (!piece.first) {
        return;
    }
    uint32_t* said = p.tallies.said + static_cast<size_t>(piece.seat) * p.vocab;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.vocab; i += gridDim.x * blockDim.x) {
        said[i] = 0;
    }
}

extern "C" __global__ void __launch_bounds__(256) tally_tell(const __grid_constant__ Telling p) {
    release_next();
    wait_for_previous();
    const TextPiece piece = piece_of(p.packed);
    uint32_t* said = p.tallies.said + static_cast<size_t>(piece.seat) * p.vocab;
    Bias* biases = p.tallies.biases + static_cast<size_t>(piece.seat) * BIASES;
    const uint32_t* words = p.packed + piece.from;
    const uint32_t first = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
    for (uint32_t i = first; i < piece.count; i += step) {
        if (i < piece.given) {
            atomicOr(&said[words[i]], SAID_GIVEN);
        } else {
            atomicAdd(&said[words[i]], 1u);
        }
    }
    words += piece.count;
    for (uint32_t i = first; i < piece.biases; i += step) {
        const uint32_t token = words[2 * i];
        biases[1 + i] = {token, __uint_as_float(words[2 * i + 1])};
        atomicOr(&said[token], SAID_BIASED);
    }
    if (piece.first && first == 0) {
        biases[0] = {piece.biases, 0.0f};
    }
}
