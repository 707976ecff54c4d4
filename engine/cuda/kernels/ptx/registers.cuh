// How many registers threads have (PTX ISA, "setmaxnreg"); Hopper's.
#pragma once

// Gives registers of a group of four warps away, down to so many a thread.
template <int REGISTERS>
__device__ __forceinline__ void keep_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// Takes what others gave away, up to so many a thread.
template <int REGISTERS>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
