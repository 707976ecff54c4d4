// The blocks that ggml stores weights in: what each element stands for.
#pragma once

#include <cstdint>
#include <cuda_fp16.h>

namespace ggml {

// Blocks may lie anywhere.
__device__ inline float half_at(const uint8_t* from) {
    uint16_t bits = from[0] | from[1] << 8;
    return __half2float(*reinterpret_cast<__half*>(&bits));
}

__device__ inline uint32_t word_at(const uint8_t* from) {
    return from[0] | from[1] << 8 | from[2] << 16 | static_cast<uint32_t>(from[3]) << 24;
}

__device__ inline int nibble(const uint8_t* bytes, int i) {
    return bytes[i % 16] >> (i / 16 * 4) & 15;
}

// Scale and minimum of a sub-block of the types with six bits for each.
__device__ inline void six_bits(const uint8_t* packed, int i, int& scale, int& minimum) {
    if (i < 4) {
        scale = packed[i] & 63, minimum = packed[i + 4] & 63;
    } else {
        scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4;
        minimum = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
    }
}

// Each type: elements and bytes of a block, and the value of element i. Types that are kept as they
// are have codes, and scales and minimums of groups: a code of zero is the minimum.

template <class Type>
__device__ float value_of_code(const uint8_t* b, int i) {
    return fmaf(static_cast<float>(Type::code(b, i)), Type::scale(b, i), Type::minimum(b, i));
}

struct F32 {
    static constexpr int ELEMENTS = 1, BYTES = 4;
    static __device__ float value(const uint8_t* b, int) { return __uint_as_float(word_at(b)); }
};

struct F16 {
    static constexpr int ELEMENTS = 1, BYTES = 2;
    static __device__ float value(const uint8_t* b, int) { return half_at(b); }
};

struct Bf16 {
    static constexpr int ELEMENTS = 1, BYTES = 2;
    static __device__ float value(const uint8_t* b, int) {
        return __uint_as_float((b[0] | static_cast<uint32_t>(b[1]) << 8) << 16);
    }
};

struct Q4_0 {
    static constexpr int ELEMENTS = 32, BYTES = 18;
    static __device__ int code(const uint8_t* b, int i) { return nibble(b + 2, i); }
    static __device__ float scale(const uint8_t* b, int) { return half_at(b); }
    static __device__ float minimum(const uint8_t* b, int) { return -8.0f * half_at(b); }
    static __device__ float value(const uint8_t* b, int i) { return value_of_code<Q4_0>(b, i); }
};

struct Q4_1 {
    static constexpr int ELEMENTS = 32, BYTES = 20;
    static __device__ int code(const uint8_t* b, int i) { return nibble(b + 4, i); }
    static __device__ float scale(const uint8_t* b, int) { return half_at(b); }
    static __device__ float minimum(const uint8_t* b, int) { return half_at(b + 2); }
    static __device__ float value(const uint8_t* b, int i) { return value_of_code<Q4_1>(b, i); }
};

struct Q4K {
    static constexpr int ELEMENTS = 256, BYTES = 144;
    static __device__ int code(const uint8_t* b, int i) {
        return b[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    }
    static __device__ float scale(const uint8_t* b, int i) {
        int scale, minimum;
        six_bits(b + 4, i / 32, scale, minimum);
        return half_at(b) * scale;
    }
    static __device__ float minimum(const uint8_t* b, int i) {
        int scale, minimum;
        six_bits(b + 4, i / 32, scale, minimum);
        return -half_at(b + 2) * minimum;
    }
    static __device__ float value(const uint8_t* b, int i) { return value_of_code<Q4K>(b, i); }
};

struct Q6K {
    static constexpr int ELEMENTS = 256, BYTES = 210;
    static __device__ int code(const uint8_t* b, int i) {
        int half = i / 128, quarter = i % 128 / 32, at = i % 32;
        int low = b[half * 64 + quarter % 2 * 32 + at] >> (quarter / 2 * 4) & 15;
        int high = b[128 + half * 32 + at] >> (quarter * 2) & 3;
        return low | high << 4;
    }
    static __device__ float scale(const uint8_t* b, int i) {
        return half_at(b + 208) * static_cast<int8_t>(b[192 + i / 16]);
    }
    static __device__ float minimum(const uint8_t* b, int i) { return -32.0f * scale(b, i); }
    static __device__ float value(const uint8_t* b, int i) { return value_of_code<Q6K>(b, i); }
};

struct Q8_0 {
    static constexpr int ELEMENTS = 32, BYTES = 34;
    static __device__ int code(const uint8_t* b, int i) {
        return static_cast<int8_t>(b[2 + i]) + 128;
    }
    static __device__ float scale(const uint8_t* b, int) { return half_at(b); }
    static __device__ float minimum(const uint8_t* b, int) { return -128.0f * half_at(b); }
    static __device__ float value(const uint8_t* b, int i) { return value_of_code<Q8_0>(b, i); }
};

struct Q5_0 {
    static constexpr int ELEMENTS = 32, BYTES = 22;
    static __device__ float value(const uint8_t* b, int i) {
        int high = word_at(b + 2) >> i & 1;
        return half_at(b) * ((nibble(b + 6, i) | high << 4) - 16);
    }
};

struct Q5_1 {
    static constexpr int ELEMENTS = 32, BYTES = 24;
    static __device__ float value(const uint8_t* b, int i) {
        int high = word_at(b + 4) >> i & 1;
        return half_at(b) * (nibble(b + 8, i) | high << 4) + half_at(b + 2);
    }
};

struct Q5K {
    static constexpr int ELEMENTS = 256, BYTES = 176;
    static __device__ float value(const uint8_t* b, int i) {
        int scale, minimum;
        six_bits(b + 4, i / 32, scale, minimum);
        int low = b[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        int high = b[16 + i % 32] >> (i / 32) & 1;
        return half_at(b) * scale * (low | high << 4) - half_at(b + 2) * minimum;
    }
};

struct Q2K {
    static constexpr int ELEMENTS = 256, BYTES = 84;
    static __device__ float value(const uint8_t* b, int i) {
        int code = b[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        int both = b[i / 16];
        return half_at(b + 80) * (both & 15) * code - half_at(b + 82) * (both >> 4);
    }
};

struct Q3K {
    static constexpr int ELEMENTS = 256, BYTES = 110;
    static __device__ float value(const uint8_t* b, int i) {
        int low = b[32 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        int high = b[i % 32] >> (i / 32) & 1;
        const uint8_t* packed = b + 96;
        int group = i / 16;
        int scale = (group < 8 ? packed[group] & 15 : packed[group - 8] >> 4) |
                    (packed[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
        return half_at(b + 108) * (scale - 32) * (low + 4 * high - 4);
    }
};

// Sixteen values, unevenly spaced.
__device__ inline int uneven(int code) {
    constexpr int8_t VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
    return VALUES[code];
}

struct Iq4Nl {
    static constexpr int ELEMENTS = 32, BYTES = 18;
    static __device__ float value(const uint8_t* b, int i) {
        return half_at(b) * uneven(nibble(b + 2, i));
    }
};

struct Iq4Xs {
    static constexpr int ELEMENTS = 256, BYTES = 136;
    static __device__ float value(const uint8_t* b, int i) {
        int group = i / 32;
        int low = b[4 + group / 2] >> (group % 2 * 4) & 15;
        int high = (b[2] | b[3] << 8) >> (2 * group) & 3;
        int scale = (low | high << 4) - 32;
        return half_at(b) * scale * uneven(nibble(b + 8 + group * 16, i % 32));
    }
};

struct Mxfp4 {
    static constexpr int ELEMENTS = 32, BYTES = 17;
    static __device__ float value(const uint8_t* b, int i) {
        constexpr float VALUES[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
        int code = nibble(b + 1, i);
        float size = VALUES[code & 7] * exp2f(static_cast<float>(b[0]) - 127.0f);
        return code & 8 ? -size : size;
    }
};

}  // namespace ggml
