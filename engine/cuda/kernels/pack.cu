// Brings weights from the order of their file into units. A thread makes what one lane reads of a
// step; where there is no weight, it is zero.
#include "device/ggml.cuh"
#include "device/weight.cuh"
#include "ptx/order.cuh"

struct Pack {
    const uint8_t* raw;  // [rows][row_bytes]
    uint8_t* units;      // of the first row
    int rows, cols, row_bytes;
};

// Where a thread's weights are.
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
    template <class Format>
    __device__ uint8_t* to(const Pack& p) const {
        return p.units + (static_cast<size_t>(tile) * units + unit) * Format::BYTES;
    }
};

template <class Source>
__device__ void pack_plain(const Pack& p) {
    const Spot spot(p);
    bf16 values[8];
    for (int i = 0; i < 8; ++i) {
        float value = 0.0f;
        if (spot.exists(p, i)) {
            value = Source::value(spot.block<Source>(p, i), spot.col(i) % Source::ELEMENTS);
        }
        values[i] = __float2bfloat16_rn(value);
    }
    auto to = reinterpret_cast<uint4*>(spot.to<Bf16Weight>(p) + spot.step * 512 + spot.lane * 16);
    *to = *reinterpret_cast<uint4*>(values);
}

// The code of each of a thread's eight weights; zero means zero where a weight is missing, since its
// scale is zero too.
template <class Source>
__device__ void codes_of(const Pack& p, const Spot& spot, uint32_t (&codes)[8]) {
    for (int i = 0; i < 8; ++i) {
        codes[i] = 0;
        if (spot.exists(p, i)) {
            codes[i] = Source::code(spot.block<Source>(p, i), spot.col(i) % Source::ELEMENTS);
        }
    }
}

// Writes a scale for each group of `group` inputs, by one thread of four for each output.
template <class Source, class Of>
__device__ void scales_of(const Pack& p, const Spot& spot, uint8_t* to, int group, Of of) {
    const int groups = UNIT_INPUTS / group;
    if (spot.lane % 4 != 0 || spot.step * 16 % group != 0) {
        return;
    }
    for (int index = 0; index <= 2; index += 2) {
        float scale = 0.0f;
        if (spot.exists(p, index)) {
            scale = of(spot.block<Source>(p, index), spot.col(index) % Source::ELEMENTS);
        }
        int at = (spot.lane / 4 * 2 + index / 2) * groups + spot.step * 16 / group;
        reinterpret_cast<__half*>(to)[at] = __float2half_rn(scale);
    }
}

template <class Source, class Format, bool MINIMUM>
__device__ void pack_four(const Pack& p) {
    const Spot spot(p);
    uint8_t* to = spot.to<Format>(p);
    uint32_t codes[8], word = 0;
    codes_of<Source>(p, spot, codes);
    for (int i = 0; i < 8; ++i) {
        word |= codes[i] << (4 * i);
    }
    reinterpret_cast<uint32_t*>(to + spot.lane * 16)[spot.step] = word;
    scales_of<Source>(p, spot, to + Format::SCALES, 32, Source::scale);
    if (MINIMUM) {
        scales_of<Source>(p, spot, to + Format::MINIMUMS, 32, Source::minimum);
    }
}

__device__ void pack_six(const Pack& p) {
    const Spot spot(p);
    uint8_t* to = spot.to<SixBitWeight>(p);
    uint32_t codes[8], low = 0, high = 0;
    codes_of<ggml::Q6K>(p, spot, codes);
    for (int i = 0; i < 8; ++i) {
        low |= (codes[i] & 15) << (4 * i);
        high |= codes[i] >> 4 << (2 * i);
    }
    reinterpret_cast<uint32_t*>(to + spot.lane * 16)[spot.step] = low;
    reinterpret_cast<uint16_t*>(to + SixBitWeight::HIGH + spot.lane * 8)[spot.step] =
        static_cast<uint16_t>(high);
    scales_of<ggml::Q6K>(p, spot, to + SixBitWeight::SCALES, 16, ggml::Q6K::scale);
}

__device__ void pack_eight(const Pack& p) {
    const Spot spot(p);
    uint8_t* to = spot.to<EightBitWeight>(p);
    uint32_t codes[8];
    codes_of<ggml::Q8_0>(p, spot, codes);
    uint8_t* bytes = to + spot.step / 2 * 512 + spot.lane * 16 + spot.step % 2 * 8;
    for (int i = 0; i < 8; ++i) {
        bytes[i] = static_cast<uint8_t>(codes[i]);
    }
    scales_of<ggml::Q8_0>(p, spot, to + EightBitWeight::SCALES, 32, ggml::Q8_0::scale);
}

// A block of four warps for each unit, a warp for each step.
#define PACK(NAME, CALL)                                        \
    extern "C" __global__ void __launch_bounds__(128)           \
        pack_##NAME(const __grid_constant__ Pack p) {           \
        wait_for_previous();                                    \
        CALL(p);                                                \
    }
PACK(bf16, pack_plain<ggml::Bf16>)
PACK(f16, pack_plain<ggml::F16>)
PACK(f32, pack_plain<ggml::F32>)
PACK(iq4_nl, pack_plain<ggml::Iq4Nl>)
PACK(iq4_xs, pack_plain<ggml::Iq4Xs>)
PACK(mxfp4, pack_plain<ggml::Mxfp4>)
PACK(q2_k, pack_plain<ggml::Q2K>)
PACK(q3_k, pack_plain<ggml::Q3K>)
PACK(q5_0, pack_plain<ggml::Q5_0>)
PACK(q5_1, pack_plain<ggml::Q5_1>)
PACK(q5_k, pack_plain<ggml::Q5K>)
#define FOUR(SOURCE, FORMAT, MINIMUM) pack_four<ggml::SOURCE, FORMAT, MINIMUM>
PACK(q4_0, (FOUR(Q4_0, Q4_0Weight, false)))
PACK(q4_1, (FOUR(Q4_1, Q4_1Weight, true)))
PACK(q4_k, (FOUR(Q4K, Q4_1Weight, true)))
PACK(q6_k, pack_six)
PACK(q8_0, pack_eight)

struct Random {
    uint8_t* units;
    uint64_t seed;
    float reach;
};

// Weights of chance between -reach and reach, a unit for each block, for measurements.
extern "C" __global__ void __launch_bounds__(128) fill_random(const __grid_constant__ Random p) {
    wait_for_previous();
    uint64_t at = static_cast<uint64_t>(blockIdx.x) * 128 + threadIdx.x;
    bf16 values[8];
    for (int i = 0; i < 8; ++i) {
        uint64_t x = p.seed + (at * 8 + i + 1) * 0x9e3779b97f4a7c15ull;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
        float unit = static_cast<float>(x >> 40) / 8388608.0f - 1.0f;
        values[i] = __float2bfloat16_rn(unit * p.reach);
    }
    reinterpret_cast<uint4*>(p.units)[at] = *reinterpret_cast<uint4*>(values);
}
