// Brings weights from the order of their file into units. A block makes a unit, a warp each step: a
// thread makes what one lane reads of it. Where there is no weight, it is zero.
#include <cuda_fp8.h>
#include <type_traits>

#include "device/ggml.cuh"
#include "device/spot.cuh"
#include "device/weight.cuh"
#include "ptx/order.cuh"

template <class Source>
__device__ void pack_plain(const Pack& p) {
    const Spot spot(p);
    bf16 values[8];
    for (int i = 0; i < 8; ++i) {
        values[i] = __float2bfloat16_rn(spot.value<Source>(p, i));
    }
    auto to = reinterpret_cast<uint4*>(spot.to<Bf16Weight>(p) + spot.step * 512 + spot.lane * 16);
    *to = *reinterpret_cast<uint4*>(values);
}

// Each group of `group` inputs of an output is one thread's, which says the scale of it.
template <class Source, class Write>
__device__ void groups_of(const Pack& p, const Spot& spot, int group, Write write) {
    if (spot.lane % 4 != 0 || spot.step * 16 % group != 0) {
        return;
    }
    for (int half = 0; half < 2; ++half) {
        float scale = 0.0f, minimum = 0.0f;
        if (spot.exists(p, half * 2)) {
            const uint8_t* block = spot.block<Source>(p, half * 2);
            const int at = spot.col(half * 2) % Source::ELEMENTS;
            scale = Source::scale(block, at);
            minimum = Source::minimum(block, at);
        }
        write((spot.lane / 4 * 2 + half) * (UNIT_INPUTS / group) + spot.step * 16 / group, scale,
              minimum);
    }
}

// A scale as it is held, so many powers of two larger. One that is no number then is noted.
__device__ bf16 held(const Pack& p, float scale, int larger) {
    bf16 out = __float2bfloat16_rn(ldexpf(scale, larger));
    if (!isfinite(__bfloat162float(out))) {
        *p.too_large = 1;
    }
    return out;
}

// Scales of a format whose codes stand for numbers around zero.
template <class Source, class Format>
__device__ void pack_scales(const Pack& p, const Spot& spot, uint8_t* to, int group) {
    groups_of<Source>(p, spot, group, [&](int at, float scale, float) {
        reinterpret_cast<bf16*>(to + Format::SCALES)[at] = held(p, scale, Format::LARGER);
    });
}

template <class Source, class Format>
__device__ void pack_four(const Pack& p) {
    const Spot spot(p);
    uint8_t* to = spot.to<Format>(p);
    uint32_t word = 0;
    for (int i = 0; i < 8; ++i) {
        word |= spot.code<Source>(p, i) << (i / 2 * 4 + i % 2 * 16);
    }
    reinterpret_cast<uint32_t*>(to + spot.lane * 16)[spot.step] = word;
    if constexpr (std::is_same<Format, Q4_0Weight>::value) {
        pack_scales<Source, Format>(p, spot, to, 32);
    } else {
        groups_of<Source>(p, spot, 32, [&](int at, float scale, float minimum) {
            bf16 rounded = held(p, scale, Format::LARGER);
            // What rounding takes from the scale, the minimum gives back to the middle codes.
            float lost = scale - ldexpf(__bfloat162float(rounded), -Format::LARGER);
            auto both = reinterpret_cast<bf16*>(to + Format::SCALES) + at * 2;
            both[0] = rounded;
            both[1] = __float2bfloat16_rn(fmaf(7.5f, lost, minimum));
        });
    }
}

__device__ void pack_six(const Pack& p) {
    __shared__ uint32_t odd[2][32][3];
    const Spot spot(p);
    uint8_t* to = spot.to<SixBitWeight>(p);
    uint32_t pairs[4], words[3];
    for (int i = 0; i < 4; ++i) {
        pairs[i] =
            spot.code<ggml::Q6K>(p, 2 * i) | spot.code<ggml::Q6K>(p, 2 * i + 1) << 16;
    }
    for (int i = 0; i < 3; ++i) {
        uint32_t two = pairs[3] >> (2 * i) & 0x00030003u;
        words[i] = spot.step % 2 ? pairs[i] << 8 | two << 14 : pairs[i] << 2 | two;
        if (spot.step % 2) {
            odd[spot.step / 2][spot.lane][i] = words[i];
        }
    }
    __syncthreads();
    for (int i = 0; i < 3 && spot.step % 2 == 0; ++i) {
        const int at = spot.step / 2 * 3 + i;
        uint8_t* word = at < 4 ? to + spot.lane * 16 + at * 4
                               : to + SixBitWeight::MORE + spot.lane * 8 + (at - 4) * 4;
        *reinterpret_cast<uint32_t*>(word) = words[i] | odd[spot.step / 2][spot.lane][i];
    }
    pack_scales<ggml::Q6K, SixBitWeight>(p, spot, to, 16);
}

__device__ void pack_eight(const Pack& p) {
    const Spot spot(p);
    uint8_t* to = spot.to<EightBitWeight>(p);
    uint8_t* bytes = to + spot.step / 2 * 512 + spot.lane * 16 + spot.step % 2 * 8;
    for (int i = 0; i < 8; ++i) {
        bytes[i / 4 * 4 + i % 2 * 2 + i / 2 % 2] =
            static_cast<uint8_t>(spot.code<ggml::Q8_0>(p, i));
    }
    pack_scales<ggml::Q8_0, EightBitWeight>(p, spot, to, 32);
}

// The exponent of the least power of two with which no weight of an output is above the largest float
// of eight bits.
__device__ int exponent_for(float largest) {
    constexpr float MOST = 448.0f;
    int exponent;
    float part = frexpf(largest / MOST, &exponent);
    return part == 0.5f ? exponent - 1 : exponent;
}

template <class Source>
__device__ void pack_fp8(const Pack& p) {
    constexpr int ZERO_EXPONENT = 127 + 120;
    __shared__ float largest[UNIT_STEPS][UNIT_OUTPUTS];
    const Spot spot(p);
    uint8_t* to = spot.to<Fp8Weight>(p);
    float values[8], most[2] = {};
    for (int i = 0; i < 8; ++i) {
        values[i] = spot.value<Source>(p, i);
        // Unlike fmaxf, this keeps what is no number.
        most[i / 2 % 2] = most[i / 2 % 2] >= fabsf(values[i]) ? most[i / 2 % 2] : fabsf(values[i]);
    }
    for (int half = 0; half < 2; ++half) {
        for (int offset = 1; offset <= 2; offset *= 2) {
            float other = __shfl_xor_sync(~0u, most[half], offset);
            most[half] = most[half] >= other ? most[half] : other;
        }
        largest[spot.step][spot.lane / 4 + half * 8] = most[half];
    }
    __syncthreads();
    float scales[2];
    for (int half = 0; half < 2; ++half) {
        float all = 0.0f;
        for (int step = 0; step < UNIT_STEPS; ++step) {
            float one = largest[step][spot.lane / 4 + half * 8];
            all = all >= one ? all : one;
        }
        int held = all > 0.0f ? max(ZERO_EXPONENT + exponent_for(all), 1) : ZERO_EXPONENT;
        if (!isfinite(all) || held > 254) {
            *p.too_large = 1;
            held = ZERO_EXPONENT;
        }
        scales[half] = exp2f(static_cast<float>(ZERO_EXPONENT - held));
        if (spot.step == 0 && spot.lane % 4 == 0) {
            to[Fp8Weight::SCALES + spot.lane / 4 * 2 + half] = static_cast<uint8_t>(held);
        }
    }
    for (int word = 0; word < 2; ++word) {
        uint32_t codes[4];
        for (int i = 0; i < 4; ++i) {
            codes[i] = __nv_cvt_float_to_fp8(values[word * 4 + i] * scales[i / 2], __NV_SATFINITE,
                                             __NV_E4M3);
        }
        uint8_t* at = to + spot.step / 2 * 512 + spot.lane * 16 + spot.step % 2 * 8 + word * 4;
        *reinterpret_cast<uint32_t*>(at) = Fp8Weight::word(codes);
    }
}

#define PACK(NAME, CALL)                                        \
    extern "C" __global__ void __launch_bounds__(128)           \
        pack_##NAME(const __grid_constant__ Pack p) {           \
        wait_for_previous();                                    \
        CALL(p);                                                \
    }
#define PLAIN(NAME, SOURCE) PACK(bf16_##NAME, pack_plain<ggml::SOURCE>)
PLAIN(bf16, Bf16)
PLAIN(f16, F16)
PLAIN(f32, F32)
PLAIN(iq4_nl, Iq4Nl)
PLAIN(iq4_xs, Iq4Xs)
PLAIN(mxfp4, Mxfp4)
PLAIN(q2_k, Q2K)
PLAIN(q3_k, Q3K)
PLAIN(q4_0, Q4_0)
PLAIN(q4_1, Q4_1)
PLAIN(q4_k, Q4K)
PLAIN(q5_0, Q5_0)
PLAIN(q5_1, Q5_1)
PLAIN(q5_k, Q5K)
PLAIN(q6_k, Q6K)
PLAIN(q8_0, Q8_0)
PACK(fp8_bf16, pack_fp8<ggml::Bf16>)
PACK(fp8_f16, pack_fp8<ggml::F16>)
PACK(fp8_f32, pack_fp8<ggml::F32>)
#define FOUR(SOURCE, FORMAT) pack_four<ggml::SOURCE, FORMAT>
PACK(q4_0_q4_0, (FOUR(Q4_0, Q4_0Weight)))
PACK(q4_1_q4_1, (FOUR(Q4_1, Q4_1Weight)))
PACK(q4_1_q4_k, (FOUR(Q4K, Q4_1Weight)))
PACK(q6_q6_k, pack_six)
PACK(q8_q8_0, pack_eight)
