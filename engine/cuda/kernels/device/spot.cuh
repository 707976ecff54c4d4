// What a thread that packs weights works on.
#pragma once

#include <cstdint>

#include "unit.cuh"

struct Pack {
    const uint8_t* raw;  // [rows][row_bytes]
    uint8_t* units;      // of the first row
    int* too_large;      // set where a weight is larger than its format holds
    int rows, cols, row_bytes;
};

// Where a thread's weights are: eight of a step, as a lane has them.
struct Spot {
    int tile, unit, step, lane, units;

    __device__ explicit Spot(const Pack& p) : units((p.cols + UNIT_INPUTS - 1) / UNIT_INPUTS) {
        lane = threadIdx.x % 32, step = threadIdx.x / 32;
        unit = blockIdx.x % units, tile = blockIdx.x / units;
    }
    __device__ int row(int index) const { return tile * 16 + Place::output(lane, index); }
    __device__ int col(int index) const { return unit * 64 + Place::input(step, lane, index); }
    __device__ bool exists(const Pack& p, int index) const {
        return row(index) < p.rows && col(index) < p.cols;
    }
    template <class Source>
    __device__ const uint8_t* block(const Pack& p, int index) const {
        return p.raw + static_cast<size_t>(row(index)) * p.row_bytes +
               col(index) / Source::ELEMENTS * Source::BYTES;
    }
    template <class Source>
    __device__ float value(const Pack& p, int index) const {
        return exists(p, index)
                   ? Source::value(block<Source>(p, index), col(index) % Source::ELEMENTS)
                   : 0.0f;
    }
    // Of a weight that is missing, any: its scale is zero, and so is its minimum.
    template <class Source>
    __device__ uint32_t code(const Pack& p, int index) const {
        return exists(p, index)
                   ? Source::code(block<Source>(p, index), col(index) % Source::ELEMENTS)
                   : 0;
    }
    template <class Format>
    __device__ uint8_t* to(const Pack& p) const {
        return p.units + (static_cast<size_t>(tile) * units + unit) * Format::BYTES;
    }
};
