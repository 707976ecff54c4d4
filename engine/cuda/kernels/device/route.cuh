// What the kernels that order choices share.
#pragma once

#include <cstdint>

constexpr int EXPERTS_MAX = 1024;

struct Route {
    const float* scores;  // [positions, experts]
    float* weights;       // [positions, chosen], the largest first
    int* experts;         // [positions, chosen]
    uint32_t* counts;     // [groups of positions, experts]; see `route_many.cu`
    int* places;          // [positions, chosen]: the place of each choice in the order
    int* rows;            // [choices]: the position of each
    int4* tiles;          // expert, first choice, number of choices
    int* num_tiles;
    int positions, num_experts, chosen, normalised;
    int tile;             // most choices in a tile
};
