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

// How many elements, blocks and segments a chunk of a window has.
struct ChunkSize {
    u32 elements;
    u32 blocks;
    u32 segments;

    __device__ ChunkSize(u32 window_elements, u32 chunk) {
        elements = umin(window_elements - chunk * CHUNK, CHUNK);
        blocks = (elements + BLOCK - 1) / BLOCK;
        segments = (blocks + SEGMENT_BLOCKS - 1) / SEGMENT_BLOCKS;
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

__device__ inline float add(float a, float b) { return __fadd_rn(a, b); }
__device__ inline double add(double a, double b) { return __dadd_rn(a, b); }
__device__ inline float larger(float a, float b) { return fmaxf(a, b); }
__device__ inline double larger(double a, double b) { return fmax(a, b); }

// Sums over the lanes of a warp in halves: 16 apart, 8 apart, … Addition commutes, so every lane has the sum. Two sums at once: lanes
// below 16 have the first, the others the second.
template <class Float> __device__ inline Float fold_pair(Float first, Float second) {
    const bool upper = threadIdx.x & 16;
    Float sum = upper ? second : first;
    sum = add(sum, __shfl_xor_sync(ALL, upper ? first : second, 16));
    for (int apart = 8; apart > 0; apart >>= 1) sum = add(sum, __shfl_xor_sync(ALL, sum, apart));
    return sum;
}
template <class Float> __device__ inline Float fold_max(Float largest) {
    for (int apart = 16; apart > 0; apart >>= 1) largest = larger(largest, __shfl_xor_sync(ALL, largest, apart));
    return largest;
}

// One instruction each: bits that two of three have, and bits of `a` where the mask is set, else of `b`.
__device__ inline u32 majority(u32 a, u32 b, u32 c) {
    u32 most;
    asm("lop3.b32 %0, %1, %2, %3, 0xe8;" : "=r"(most) : "r"(a), "r"(b), "r"(c));
    return most;
}
__device__ inline u32 merge(u32 mask, u32 a, u32 b) {
    u32 merged;
    asm("lop3.b32 %0, %1, %2, %3, 0xca;" : "=r"(merged) : "r"(mask), "r"(a), "r"(b));
    return merged;
}

// A mask of 64 values.
struct Bits64 {
    u32 low;
    u32 up;
};

__device__ inline Bits64 operator&(Bits64 a, Bits64 b) { return {a.low & b.low, a.up & b.up}; }
__device__ inline u32 ones(Bits64 bits) { return __popc(bits.low) + __popc(bits.up); }

// The bits below the lowest that is set; all of them if none is.
__device__ inline u32 below_lowest(u32 bits) { return bits - 1 & ~bits; }

// The bits of `value` at the set positions of `mask`, moved together at the low end of each half. `value` has no other bits.
// Goes once round for each bit of `value`, in both halves at once: good where it has few.
__device__ inline Bits64 gather_few(Bits64 value, Bits64 mask) {
    Bits64 gathered = {0, 0};
    while ((value.low | value.up) != 0) {
        // In a half without any bit left, this sets the one behind all positions of the mask.
        gathered.low |= __funnelshift_lc(0, 1, __popc(mask.low & below_lowest(value.low)));
        gathered.up |= __funnelshift_lc(0, 1, __popc(mask.up & below_lowest(value.up)));
        value.low &= value.low - 1;
        value.up &= value.up - 1;
    }
    gathered.low &= ~__funnelshift_lc(0, ALL, __popc(mask.low));
    gathered.up &= ~__funnelshift_lc(0, ALL, __popc(mask.up));
    return gathered;
}

// The same, once round for each bit that is not in `mask`: good where it has most.
__device__ inline Bits64 gather_most(Bits64 value, Bits64 mask) {
    Bits64 gaps = {~mask.low, ~mask.up};
    while ((gaps.low | gaps.up) != 0) {
        // What lies above the lowest gap moves over it, and the other gaps with it. Without a gap nothing moves.
        value.low = merge(below_lowest(gaps.low), value.low, value.low >> 1);
        value.up = merge(below_lowest(gaps.up), value.up, value.up >> 1);
        gaps.low = (gaps.low & gaps.low - 1) >> 1;
        gaps.up = (gaps.up & gaps.up - 1) >> 1;
    }
    return value;
}

// The low bits of each half of `value` moved apart to the set positions of `mask`; what else `value` has does not matter. Once round
// for each of those positions.
__device__ inline Bits64 scatter_few(Bits64 value, Bits64 mask) {
    Bits64 scattered = {0, 0};
    while ((mask.low | mask.up) != 0) {
        Bits64 rest = {mask.low & mask.low - 1, mask.up & mask.up - 1};
        // The lowest position, times one bit: this keeps another part of the processor busy than all the rest.
        scattered.low += (mask.low ^ rest.low) * (value.low & 1);
        scattered.up += (mask.up ^ rest.up) * (value.up & 1);
        value.low >>= 1;
        value.up >>= 1;
        mask = rest;
    }
    return scattered;
}

// The same for 32 bits, always in as many steps: good for a mask that neither has few nor most. In step i, bits move up by 2^i
// where bit i of the number of gaps below their position is set.
__device__ inline u32 scatter_any(u32 value, u32 mask) {
    u32 moves[5], positions = mask, gaps = ~mask << 1;
    #pragma unroll
    for (u32 i = 0; i < 5; i++) {
        // Set where the number of gaps below is odd.
        u32 odd = gaps;
        #pragma unroll
        for (u32 apart = 1; apart < 32; apart <<= 1) odd ^= odd << apart;
        moves[i] = odd & positions;
        positions = positions ^ moves[i] | moves[i] >> (1 << i);
        gaps &= ~odd;
    }
    #pragma unroll
    for (int i = 4; i >= 0; i--) value = merge(moves[i], value << (1 << i), value);
    return value & mask;
}

// The same, once round for each bit that is not in `mask`.
__device__ inline Bits64 scatter_most(Bits64 value, Bits64 mask) {
    Bits64 gaps = {~mask.low, ~mask.up};
    while ((gaps.low | gaps.up) != 0) {
        // Below the lowest gap everything is in place, the rest moves up by one. Without a gap, everything is in place.
        value.low += value.low & ~below_lowest(gaps.low);
        value.up += value.up & ~below_lowest(gaps.up);
        gaps.low &= gaps.low - 1;
        gaps.up &= gaps.up - 1;
    }
    return value;
}

// In each nibble, bit i of word j changes places with bit j of word i.
__device__ inline void transpose_nibbles(u32 *word) {
    #pragma unroll
    for (u32 i = 0; i < 4; i += 2) {
        u32 even = word[i], odd = word[i + 1];
        word[i] = merge(0x55555555u, even, odd << 1);
        word[i + 1] = merge(0x55555555u, even >> 1, odd);
    }
    #pragma unroll
    for (u32 i = 0; i < 2; i++) {
        u32 near = word[i], far = word[i + 2];
        word[i] = merge(0x33333333u, near, far << 2);
        word[i + 2] = merge(0x33333333u, near >> 2, far);
    }
}
