// Blocks that run together and see each other's shared memory (PTX ISA, "Cluster of cooperative
// thread arrays"); Hopper's.
#pragma once

#include <cstdint>

#if __CUDA_ARCH__ >= 900
#define CLUSTER_OF(BLOCKS) __cluster_dims__(BLOCKS, 1, 1)
#else
#define CLUSTER_OF(BLOCKS)
#endif

// Which of its cluster a block is.
__device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// All threads of all blocks arrive, then wait for each other; what was written before is seen after.
__device__ __forceinline__ void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}

__device__ __forceinline__ void cluster_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// Both, one after the other.
__device__ __forceinline__ void cluster_barrier() {
    cluster_arrive();
    cluster_wait();
}

// Where another block of the cluster has what is `here` in this one's shared memory.
__device__ __forceinline__ uint32_t address_in(uint32_t rank, uint32_t here) {
    uint32_t there = 0;
#if __CUDA_ARCH__ >= 900
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(rank));
#endif
    return there;
}

// What another block of the cluster has where this block has `at`.
__device__ __forceinline__ float load_from(uint32_t rank, const float* at) {
    float value = 0.0f;
#if __CUDA_ARCH__ >= 900
    const uint32_t there =
        address_in(rank, static_cast<uint32_t>(__cvta_generic_to_shared(at)));
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there) : "memory");
#endif
    return value;
}

// Writes to what is `at` in the first block's shared memory. All blocks have arrived once before.
__device__ __forceinline__ void store_to_first(float* at, float value) {
#if __CUDA_ARCH__ >= 900
    auto address = static_cast<uint32_t>(__cvta_generic_to_shared(at));
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, 0;" : "=r"(there) : "r"(address));
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(there), "f"(value) : "memory");
#endif
}
