// Copies of whole pieces of memory to shared memory, and the barriers that say when they are there
// (PTX ISA, "cp.async.bulk" and "mbarrier"); Hopper and later have them.
#pragma once

#include <cstdint>

#include "cluster.cuh"

// A barrier's phase ends when so many arrivals, and all bytes that they announced, have come.
struct Barrier {
    uint64_t word;

    __device__ uint32_t address() const {
        return static_cast<uint32_t>(__cvta_generic_to_shared(&word));
    }
    __device__ void init(int arrivals) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(arrivals)
                     : "memory");
    }
    __device__ void arrive() {
        asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address()) : "memory");
    }
    // Arrives, and announces bytes.
    __device__ void expect(int bytes) {
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()),
                     "r"(bytes)
                     : "memory");
    }
    // Arrives at another block's barrier, at this one's place in its shared memory. It says nothing
    // of accesses that are under way: a fence for the cluster takes longer than a stage is read.
    __device__ void arrive_at(uint32_t rank) {
        asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(
                         address_in(rank, address()))
                     : "memory");
    }
    // Waits for the end of the phase of this parity; the one before the first is odd, and over.
    __device__ void wait(int parity) {
        asm volatile(
            "{\n"
            ".reg .pred done;\n"
            "again:\n"
            "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
            "@done bra over;\n"
            "bra again;\n"
            "over:\n"
            "}" ::"r"(address()),
            "r"(parity)
            : "memory");
    }
};

// Barriers that were initialised are so for everyone, once the block has met after.
__device__ __forceinline__ void barriers_begin() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Copies a multiple of sixteen bytes, from and to where sixteen divides.
__device__ __forceinline__ void copy_bulk(void* to, const void* from, int bytes, Barrier& barrier) {
    auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
            "r"(address),
        "l"(from), "r"(bytes), "r"(barrier.address())
        : "memory");
}

// Rows in device memory, and how boxes of them lie in shared memory: what the driver makes of both.
struct alignas(64) TensorMap {
    uint64_t words[16];
};

// Copies a box, from a column and a row on; what is beyond the last is zero.
__device__ __forceinline__ void copy_box(void* to, const TensorMap& map, int col, int row,
                                         Barrier& barrier) {
    auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%2, %3}], [%4];" ::"r"(address),
        "l"(&map), "r"(col), "r"(row), "r"(barrier.address())
        : "memory");
}

// The same, for all blocks of the cluster that `blocks` has a bit for: to the same place, and the
// same barrier, of each.
__device__ __forceinline__ void copy_box_to(uint16_t blocks, void* to, const TensorMap& map,
                                            int col, int row, Barrier& barrier) {
    auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(address),
        "l"(&map), "r"(col), "r"(row), "r"(barrier.address()), "h"(blocks)
        : "memory");
}

// Has the thread arrive when all copies have come that it asked for before, one by one.
__device__ __forceinline__ void copies_arrive(Barrier& barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier.address())
                 : "memory");
}

// A place in a ring of stages, and the parity of the turn.
struct Turn {
    int stage = 0, parity = 0;

    __device__ void next(int stages) {
        if (++stage == stages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

// Waits for `THREADS` threads that name the same barrier of the block.
template <int NAME, int THREADS>
__device__ __forceinline__ void meet() {
    asm volatile("bar.sync %0, %1;" ::"n"(NAME), "n"(THREADS) : "memory");
}
