// What the encoder and the decoder share: numbers of the format (docs/src/frame-format.md), element types, small pieces.
//
// Every float operation is one IEEE operation (compiled with -fmad=false, divisions and roots correctly rounded), in the order in
// which the processor's code does it, so that both make the same bytes.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

constexpr u32 BLOCK = 256;
constexpr u32 GROUP = 64;
constexpr u32 GROUPS = BLOCK / GROUP;
constexpr u32 ROWS = BLOCK / 32;
constexpr u32 SEGMENT_BLOCKS = 16;
constexpr u32 SEGMENT = SEGMENT_BLOCKS * BLOCK;
constexpr u32 SEGMENT_GROUPS = SEGMENT_BLOCKS * GROUPS;
constexpr u32 CHUNK = 65536;
constexpr u32 CHUNK_SEGMENTS = CHUNK / SEGMENT;
constexpr u32 CHUNK_BLOCKS = CHUNK / BLOCK;
constexpr u32 CHUNK_HEADER_BYTES = 8;
constexpr u32 HEADER_BYTES = 16;
constexpr u8 ZERO_BLOCK = 255;
constexpr u8 FAMILY_GRAIN = 1;
constexpr u32 MAX_CLASS = 63;
constexpr u32 ALL = 0xffffffffu;

// Element types, as template arguments.
constexpr int F32 = 0;
constexpr int F16 = 1;
constexpr int BF16 = 2;

// How many low bits a magnitude has, and how many classes of its high part are two wide.
struct Shape {
    u32 low_bits;
    u32 wide;

    __device__ explicit Shape(u32 packed) : low_bits(packed & 0xff), wide(packed >> 8) {}
    __device__ u32 code() const { return low_bits << 2 | wide; }
    __device__ u32 nibble_layers() const { return low_bits >> 2; }
    __device__ u32 low_planes() const { return low_bits & 3; }
    // Signs, low bits, first threshold.
    __device__ u32 fixed_bytes() const { return 16 + 8 * low_bits; }
    // The smallest high part of this class.
    __device__ u32 threshold(u32 c) const { return c <= wide ? 2 * c : c + wide; }
};

__device__ inline u32 umin(u32 a, u32 b) { return a < b ? a : b; }

__device__ inline float bits_to_float(u32 bits) { return __uint_as_float(bits); }

// 2^exponent; the exponent is that of a normal number.
__device__ inline float power_f32(int exponent) { return __uint_as_float((u32)(exponent + 127) << 23); }
__device__ inline double power_f64(int exponent) { return __longlong_as_double((long long)(exponent + 1023) << 52); }

template <int KIND> struct Element;

template <> struct Element<F32> {
    typedef u32 Bits;
    static __device__ float widen(u32 bits) { return __uint_as_float(bits); }
    static __device__ u32 narrow(float value) { return __float_as_uint(value); }
};

template <> struct Element<F16> {
    typedef u16 Bits;
    static __device__ float widen(u16 bits) {
        float wide;
        asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(bits));
        return wide;
    }
    static __device__ u16 narrow(float value) {
        u16 bits;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
        return bits;
    }
};

template <> struct Element<BF16> {
    typedef u16 Bits;
    static __device__ float widen(u16 bits) { return __uint_as_float((u32)bits << 16); }
    // To nearest, ties to even. What the codec restores is never NaN.
    static __device__ u16 narrow(float value) {
        u32 bits = __float_as_uint(value);
        return (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
};

// How many elements, blocks and segments a chunk has, counted from the first of a window.
struct ChunkSize {
    u32 elements;
    u32 blocks;
    u32 segments;

    __device__ ChunkSize(u64 window_elements, u32 chunk) {
        u64 left = window_elements - (u64)chunk * CHUNK;
        elements = left < CHUNK ? (u32)left : CHUNK;
        blocks = (elements + BLOCK - 1) / BLOCK;
        segments = (blocks + SEGMENT_BLOCKS - 1) / SEGMENT_BLOCKS;
    }
};

// What steps are multiples of, in one chunk, from its largest magnitude.
struct Scale {
    int exponent;
    float unit;
    // Whether this chunk can be coded here; the processor knows what to do with all others.
    bool usable;

    // `fraction`: root mean squares of a step.
    __device__ Scale(u32 largest_bits, double fraction) : exponent(0), unit(1.0f), usable(false) {
        int biased = (int)(largest_bits >> 23);
        if (biased == 255 || (biased == 0 && largest_bits != 0)) return;
        exponent = biased == 0 ? 0 : biased - 127;
        if (exponent < -80 || exponent > 100) return;
        unit = __double2float_rn(__dmul_rn(fraction, power_f64(exponent + 1)));
        int smallest = (int)(__float_as_uint(unit) >> 23) - 127;
        usable = smallest >= -80 && smallest <= 100;
    }
};

// 2^(-i/8), as f32.
__device__ const float FRACTIONS[8] = {
    1.0f, 0.9170040432046712f, 0.8408964152537145f, 0.7711054127039704f,
    0.7071067811865476f, 0.6484197773255048f, 0.5946035575013605f, 0.5452538663326288f,
};

__device__ inline float block_step(float unit, u32 code) {
    return __fmul_rn(__fmul_rn(unit, FRACTIONS[code & 7]), power_f32(-(int)(code >> 3)));
}

// Sums over the lanes of a warp in halves: 16 apart, 8 apart, … Addition commutes, so every lane has the sum.
__device__ inline float fold(float sum) {
    for (int apart = 16; apart > 0; apart >>= 1) sum = __fadd_rn(sum, __shfl_xor_sync(ALL, sum, apart));
    return sum;
}
__device__ inline double fold(double sum) {
    for (int apart = 16; apart > 0; apart >>= 1) sum = __dadd_rn(sum, __shfl_xor_sync(ALL, sum, apart));
    return sum;
}
__device__ inline float fold_max(float largest) {
    for (int apart = 16; apart > 0; apart >>= 1) largest = fmaxf(largest, __shfl_xor_sync(ALL, largest, apart));
    return largest;
}

// The bits of `value` at the set positions of `mask`, moved together at the low end. `value` has no other bits.
// Goes once round for each bit of `value`: good where it has few.
__device__ inline u32 gather_few(u32 value, u32 mask) {
    u32 gathered = 0;
    while (value != 0) {
        u32 lowest = value & -value;
        gathered |= 1u << __popc(mask & (lowest - 1));
        value ^= lowest;
    }
    return gathered;
}

// The same, once round for each bit that is not in `mask`: good where it has most.
__device__ inline u32 gather_most(u32 value, u32 mask) {
    u32 gaps = ~mask;
    while (gaps != 0) {
        u32 highest = 31 - __clz((int)gaps);
        u32 below = (1u << highest) - 1;
        value = (value & below) | (value >> 1 & ~below);
        gaps ^= 1u << highest;
    }
    return value;
}

// The low bits of `value` moved apart to the set positions of `mask`.
__device__ inline u32 scatter(u32 value, u32 mask) {
    u32 scattered = 0;
    while (mask != 0) {
        u32 lowest = mask & -mask;
        if (value & 1) scattered |= lowest;
        value >>= 1;
        mask ^= lowest;
    }
    return scattered;
}
