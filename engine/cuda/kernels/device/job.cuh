// Rows of one product, and the weight that they meet.
//
// out = x weight^T. The inputs are cut into slices of whole units. A slice is summed by tensor cores,
// sixteen inputs after sixteen; the slices are then added, the first one first. That order is a
// function of the weight's shape alone, so a row's bits depend neither on how many rows there are nor
// on which kernel computed it.
#pragma once

#include "weight.cuh"

struct Job {
    const uint8_t* weight;  // units of the first output: [outputs / 16][units]
    const bf16* x;          // [rows, inputs]
    const int* rows;        // the row of x that each row of `out` is of; null: the same
    float* out;             // the first row's, from the weight's first output on
    const float* bias;      // null: none
    int first, count;       // rows of `out`
    int inputs, outputs;
    int width;              // of a row of out
    int slice;              // units in a slice

    __device__ int units() const { return (inputs + UNIT_INPUTS - 1) / UNIT_INPUTS; }
    __device__ const bf16* row(int i) const {
        int row = rows ? rows[first + i] : first + i;
        return x + static_cast<size_t>(row) * inputs;
    }
    __device__ void store(int i, int output, float value) const {
        store(i, output, value, nullptr, 0.0f);
    }
    // The same, and what comes of adding it to what stood `before` in the same place of `residual`, if
    // there is one.
    __device__ void store(int i, int output, float value, float* residual, float before) const {
        if (i < count) {
            store_at(first + i, output, value, residual, before);
        }
    }
    __device__ void store_at(int row, int output, float value, float* residual = nullptr,
                             float before = 0.0f) const {
        if (output < outputs) {
            const size_t at = static_cast<size_t>(row) * width + output;
            value = bias ? value + bias[output] : value;
            out[at] = value;
            if (residual) {
                residual[at] = before + value;
            }
        }
    }
    __device__ size_t place(int i, int output) const {
        return static_cast<size_t>(first + i) * width + output;
    }
};
