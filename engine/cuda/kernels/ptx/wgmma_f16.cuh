// Products of four warps together as attention needs them: of f16, with both operands as the cache
// holds them (PTX ISA, "Asynchronous warpgroup level matrix multiply-accumulate instructions").
#pragma once

#include "wgmma.cuh"

#if HAS_WGMMA

// Groups of eight rows of 128 bytes, swizzled as for `tile_of`, `stride` bytes from one to the next.
// Of columns that are summed over, the 64 after are another tile; of others, they are `lead` bytes on.
__device__ __forceinline__ uint64_t tile_of(const void* start, int stride, int lead) {
    constexpr uint64_t SWIZZLED = 1;
    auto address = static_cast<uint64_t>(__cvta_generic_to_shared(start));
    return (address & 0x3ffff) >> 4 | static_cast<uint64_t>(lead >> 4) << 16 |
           static_cast<uint64_t>(stride >> 4) << 32 | SWIZZLED << 62;
}

// What ordinary stores wrote to shared memory is seen by products and copies after.
__device__ __forceinline__ void products_see_stores() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Nothing that reads or writes these is moved across.
template <int N>
__device__ __forceinline__ void pin(float (&d)[N][4]) {
#pragma unroll
    for (int i = 0; i < N * 4; ++i) {
        asm volatile("" : "+f"(d[i / 4][i % 4])::"memory");
    }
}

// A warpgroup takes or gives registers of its block, to have so many a thread.
template <int COUNT>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <int COUNT>
__device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

#define D4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])

// d = a b, or d += a b if `add`: a is 64 x 16 and b 16 x 128, each with the summed column last.
__device__ __forceinline__ void wgmma_f16(float (&d)[16][4], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "}, %64, %65, add, 1, 1, 0, 0;\n}"
        : D4(0), D4(1), D4(2), D4(3), D4(4), D4(5), D4(6), D4(7), D4(8), D4(9), D4(10), D4(11),
          D4(12), D4(13), D4(14), D4(15)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// The same, where a is in the four warps' registers, tile by tile as for `mma_f16`, and b has the
// summed row first.
__device__ __forceinline__ void wgmma_f16(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b,
                                          bool add) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "}, {%64,%65,%66,%67}, %68, add, 1, 1, 1;\n}"
        : D4(0), D4(1), D4(2), D4(3), D4(4), D4(5), D4(6), D4(7), D4(8), D4(9), D4(10), D4(11),
          D4(12), D4(13), D4(14), D4(15)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

// The same, where b is 16 x 64.
__device__ __forceinline__ void wgmma_f16(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b,
                                          bool add) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
        "}, {%32,%33,%34,%35}, %36, add, 1, 1, 1;\n}"
        : D4(0), D4(1), D4(2), D4(3), D4(4), D4(5), D4(6), D4(7)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

#undef D4

#endif
