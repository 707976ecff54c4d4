// The order of kernels that follow one another on a stream.
#pragma once

// Waits until the kernel before has ended and its writes are seen. Until then a kernel may only read
// what no kernel writes: weights. Every kernel calls it, so that "before" includes all that were
// earlier still.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the kernel after begin, as far as there is room for it beside this one.
__device__ __forceinline__ void release_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
