// Loads that say how they use the caches, and copies to shared memory that nobody waits for.
#pragma once

#include <cstdint>

// Sixteen bytes that are read once.
__device__ __forceinline__ uint4 load_once(const void* from) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

// Copies sixteen bytes to shared memory; zeros unless `valid`.
__device__ __forceinline__ void copy_16(void* to, const void* from, bool valid) {
    auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(bytes)
                 : "memory");
}

// Closes a group of copies.
__device__ __forceinline__ void copies_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most N of this thread's groups are under way.
template <int N>
__device__ __forceinline__ void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Copies whole pieces of sixteen bytes that are read once to shared memory, by a warp.
__device__ __forceinline__ void copy_once(uint8_t* to, const uint8_t* from, int bytes) {
    const int lane = threadIdx.x % 32;
    auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
#pragma unroll 4
    for (int at = lane * 16; at < bytes; at += 512) {
        asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(address + at),
                     "l"(from + at)
                     : "memory");
    }
}

// Asks the L2 cache for a multiple of sixteen bytes, and waits for nothing (PTX ISA,
// "cp.async.bulk.prefetch"; Hopper and later).
__device__ __forceinline__ void fetch_ahead(const uint8_t* from, int bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
#endif
}
