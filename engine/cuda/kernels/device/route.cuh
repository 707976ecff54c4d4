// What the kernels that order choices share.
#pragma once

#include <cstdint>

constexpr int EXPERTS_MAX = 1024;

struct Route {
    const float* scores;  // [positions, experts]
    float* weights;       // [positions, chosen], the largest first
    int* experts;         // [positions, chosen], counted among the rank's
    uint32_t* counts;     // [groups of positions, experts]; see `route_many.cu`
    int* arrivals;        // of blocks, zero between kernels; see `router_many.cu`
    int* places;          // [positions, chosen]: each choice's place in the order, or ELSEWHERE
    int* rows;            // [choices]: the position of each
    int4* tiles;          // expert, first choice, number of choices
    int* num_tiles;
    int positions, num_experts, chosen, normalised;
    int tile;             // most choices in a tile
    // The rank's experts, all of them if there is no other.
    int first_held, num_held;
};

// Another rank's expert. As an unsigned number, none is as large.
constexpr int ELSEWHERE = -1;

// An expert's number among the rank's.
__device__ __forceinline__ int held(const Route& p, int expert) {
    const int number = expert - p.first_held;
    return number >= 0 && number < p.num_held ? number : ELSEWHERE;
}
