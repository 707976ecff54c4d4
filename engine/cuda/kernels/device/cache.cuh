// Where the paged cache keeps an element.
//
// One head's keys of a block are one piece, and its values another. Plain, a piece is rows of
// positions. Tiled, it is what the tensor cores read without being told more: positions in groups
// of eight; in a group, segments of 64 columns, 1,024 bytes each; in a segment, rows of 128 bytes
// whose sixteen-byte parts are swizzled: part i of row r is at i ^ r.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

struct CacheShape {
    int heads, dim, block_size;
    int tiled;

    // The start of a head's keys, or values, in elements.
    __device__ __forceinline__ size_t piece(uint32_t block, int head, bool values) const {
        return ((static_cast<size_t>(block) * heads + head) * 2 + values) * block_size * dim;
    }
    // An element's place in them.
    __device__ __forceinline__ int place(int position, int col) const {
        if (!tiled) {
            return position * dim + col;
        }
        const int row = position % 8;
        return (position - row) * dim + col / 64 * 512 + row * 64 + (col % 64 / 8 ^ row) * 8 +
               col % 8;
    }
};
