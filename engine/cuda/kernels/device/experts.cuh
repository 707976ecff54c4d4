// Products of choices with their experts' weights.
#pragma once

#include "job.cuh"

struct Experts {
    Job job;              // `weight` is the first expert's; `rows` the position of each choice, or null
    const int4* tiles;    // expert, first choice, number of choices
    const int* num_tiles;
    size_t expert_bytes;  // from one expert's weight to the next one's

    // What is to be done for one tile of choices.
    __device__ Job of(int4 tile) const {
        Job of = job;
        of.weight += tile.x * expert_bytes;
        of.first = tile.y;
        of.count = tile.z;
        return of;
    }
};

// Gate and up of choices, with the activation.
struct GatedExperts {
    Experts experts;  // outputs: those of gate, then those of up
    bf16* out;        // [choices, outputs / 2]
    int gelu;
};
