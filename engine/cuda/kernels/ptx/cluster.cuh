// Blocks that run beside each other and read each other's shared memory (PTX ISA, "cluster");
// Hopper's.
#pragma once

#include <cstdint>

// Which of its cluster a block is.
__device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// Waits for all threads of the cluster, and sees what they wrote.
__device__ __forceinline__ void cluster_barrier() {
    asm volatile(
        "barrier.cluster.arrive.release.aligned;\n"
        "barrier.cluster.wait.acquire.aligned;" ::
            : "memory");
}

// What another block of the cluster has where this block has `at`.
__device__ __forceinline__ float load_from(uint32_t rank, const float* at) {
    const auto here = static_cast<uint32_t>(__cvta_generic_to_shared(at));
    uint32_t there;
    float value;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(rank));
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there) : "memory");
    return value;
}
