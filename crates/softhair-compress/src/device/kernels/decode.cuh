// Grain decompression in two launches, each over a window of chunks of one tensor:
//   index    a thread for each segment: where in its variable part each group begins
//   restore  a block of threads for each segment: values, straight to where they belong
//
// The host has checked that all fixed and variable parts lie inside what was sent, and that 16 bytes follow it; a variable part
// that does not describe exactly its groups is found here.
#pragma once
#include "grain.cuh"

constexpr u32 INDEX_THREADS = 64;
// Eight threads for each group, and each twice.
constexpr u32 RESTORE_THREADS = 4 * SEGMENT_GROUPS;
// Bits of a high part, which is at most 66.
constexpr u32 HIGH_BITS = 7;

// What the host says of a chunk.
struct ChunkPlan {
    u32 elements;
    // Bits of the unit; 0 if the host restores this chunk.
    u32 unit;
    u32 shape;
    u32 unused;
};

// Where the parts of a segment are, in bytes from the start of what was sent.
struct SegmentPlan {
    u32 codes;
    u32 fixed;
    u32 variable;
    u32 variable_end;
};

// The next `count` of up to 64 bits. Reads at most 12 bytes from the word that `at` lies in.
__device__ inline Bits64 take(const u32 *words, u32 &at, u32 count) {
    const u32 *word = words + at / 32;
    u32 shift = at % 32;
    Bits64 bits;
    bits.low = __funnelshift_r(word[0], word[1], shift);
    bits.up = __funnelshift_r(word[1], word[2], shift);
    at += count;
    bits.low &= count >= 32 ? ALL : (1u << count) - 1;
    bits.up &= count >= 64 ? ALL : count <= 32 ? 0 : (1u << count - 32) - 1;
    return bits;
}

// The little-endian word at any byte. Reads up to four bytes past it.
__device__ inline u32 word_at(const u8 *sent, u32 byte) {
    const u32 *word = (const u32 *)sent + byte / 4;
    return __funnelshift_r(word[0], word[1], byte % 4 * 8);
}

// The blocks of a segment that are not all zero, as a mask. For a whole warp.
__device__ inline u32 stored_blocks(const u8 *codes, u32 blocks) {
    u32 lane = threadIdx.x % 32;
    return __ballot_sync(ALL, lane < blocks && codes[lane < blocks ? lane : 0] != ZERO_BLOCK);
}

// The mask of the first threshold of a group, as the three words that it lies in.
struct FirstMask {
    u32 word[3];

    __device__ FirstMask(const u8 *sent, u32 at) {
        const u32 *from = (const u32 *)sent + at / 4;
        #pragma unroll
        for (u32 i = 0; i < 3; i++) word[i] = from[i];
    }
    // The mask begins at a byte with this remainder by four.
    __device__ u32 passed(u32 at) const {
        u32 shift = at % 4 * 8;
        return __popc(__funnelshift_r(word[0], word[1], shift)) + __popc(__funnelshift_r(word[1], word[2], shift));
    }
};

__device__ inline void index(const u8 *sent, const ChunkPlan *chunks, const SegmentPlan *segments, u32 all_segments,
                             u32 *positions, u32 *damaged) {
    const u32 which = blockIdx.x * INDEX_THREADS + threadIdx.x;
    if (which >= all_segments) return;
    const ChunkPlan chunk = chunks[which / CHUNK_SEGMENTS];
    const u32 start = which % CHUNK_SEGMENTS * SEGMENT;
    if (chunk.unit == 0 || start >= chunk.elements) return;
    const SegmentPlan segment = segments[which];
    const Shape shape(chunk.shape);
    const u32 *words = (const u32 *)sent;
    const u32 here = umin(SEGMENT, chunk.elements - start), blocks = (here + BLOCK - 1) / BLOCK;
    u32 stored = 0;
    for (u32 block = 0; block < blocks; block++) stored |= (sent[segment.codes + block] != ZERO_BLOCK) << block;
    // Only the last block may have fewer groups than others.
    u32 absent = stored >> blocks - 1 & 1 ? blocks * GROUPS - (here + GROUP - 1) / GROUP : 0;
    u32 groups = __popc(stored) * GROUPS - absent;
    u32 at = 8 * segment.variable, mask_at = segment.fixed + shape.fixed_bytes() - 8;
    if (groups == 0) {
        if (segment.variable != segment.variable_end) atomicOr(damaged, 1);
        return;
    }
    FirstMask ahead(sent, mask_at);
    for (u32 i = 0; i < groups; i++) {
        positions[which * SEGMENT_GROUPS + (__ffs(stored) - 1) * GROUPS + i % GROUPS] = at;
        if (i % GROUPS == GROUPS - 1) stored &= stored - 1;
        // Only how many pass each threshold matters here, not which.
        u32 passed = ahead.passed(mask_at);
        // Where a group begins is known only when the one before is done, but its mask can be on its way meanwhile.
        if (i + 1 < groups) ahead = FirstMask(sent, mask_at += shape.fixed_bytes());
        u32 narrow = shape.wide == 1 ? passed : 0;
        for (u32 c = 2; c <= MAX_CLASS && passed != 0; c++) {
            passed = ones(take(words, at, passed));
            if (c == shape.wide) narrow = passed;
            if (at > 8 * segment.variable_end) {
                atomicOr(damaged, 1);
                return;
            }
        }
        if (shape.wide > 0) at += GROUP - narrow;
        if (at > 8 * segment.variable_end) {
            atomicOr(damaged, 1);
            return;
        }
    }
    if ((at + 7) / 8 != segment.variable_end) atomicOr(damaged, 1);
}

// The next bits for a mask: one for each of its values, those of the lower half first; behind them there may be others.
__device__ inline Bits64 take(const u32 *words, u32 &at, Bits64 mask) {
    u32 low = __popc(mask.low), up = __popc(mask.up);
    const u32 *word = words + at / 32;
    u32 near = __funnelshift_r(word[0], word[1], at), far = __funnelshift_r(word[1], word[2], at);
    at += low + up;
    return {near, __funnelshift_rc(near, far, low)};
}

// The high parts of 64 values, a mask for each of their bits.
struct HighParts {
    Bits64 bit[HIGH_BITS];

    // Adds 2^from to the values of a mask.
    __device__ void add(Bits64 mask, u32 from) {
        if (from == 0) mask = add_bit(0, mask);
        #pragma unroll
        for (u32 i = 1; i < 4; i++) mask = add_bit(i, mask);
        // Weights hardly ever have high parts above 15.
        if ((mask.low | mask.up) == 0) return;
        #pragma unroll
        for (u32 i = 4; i < HIGH_BITS; i++) mask = add_bit(i, mask);
    }
    // What is carried to the next bit.
    __device__ Bits64 add_bit(u32 i, Bits64 mask) {
        Bits64 carried = bit[i] & mask;
        bit[i].low ^= mask.low;
        bit[i].up ^= mask.up;
        return carried;
    }
};

__device__ inline void high_parts(const u32 *words, u32 at, Bits64 passed, Shape shape, HighParts &high) {
    #pragma unroll
    for (u32 i = 0; i < HIGH_BITS; i++) high.bit[i].low = high.bit[i].up = 0;
    Bits64 wide = {shape.wide > 0 ? ALL : 0, shape.wide > 0 ? ALL : 0};
    for (u32 c = 1; c <= MAX_CLASS && (passed.low | passed.up) != 0; c++) {
        // Passing out of a wide class skips two high values.
        high.add(passed, c <= shape.wide);
        if (c == shape.wide) {
            wide.low = ~passed.low;
            wide.up = ~passed.up;
        }
        if (c == MAX_CLASS) break;
        Bits64 bits = take(words, at, passed);
        // About half of all weights pass the first threshold, and fewer and fewer the next.
        if (c == 1) passed = {scatter_any(bits.low, passed.low), scatter_any(bits.up, passed.up)};
        else passed = scatter_few(bits, passed);
    }
    if (shape.wide > 0) {
        // Every wide class begins at an even number.
        Bits64 odds = scatter_most(take(words, at, wide), wide);
        high.bit[0].low |= odds.low;
        high.bit[0].up |= odds.up;
    }
}

// A segment on its way, in shared memory.
struct RestoreShared {
    // Of each group the lowest four bits of the high parts: byte r of word l % 4 has them of value 8r + l, above those of value
    // 8r + l - 4; in four words for r below 4, and four for the rest.
    u32 nibbles[SEGMENT_GROUPS][8];
    // The next bits, where `large` says so.
    u32 more[SEGMENT_GROUPS][8];
    u32 signs[SEGMENT_GROUPS][2];
    u32 large[SEGMENT_GROUPS];
    float step[SEGMENT_BLOCKS];
};

// Four masks of 32 values each, to four words with a nibble for each value.
__device__ inline void write_nibbles(u32 a, u32 b, u32 c, u32 d, u32 *to) {
    u32 word[4] = {a, b, c, d};
    transpose_nibbles(word);
    *(uint4 *)to = make_uint4(word[0], word[1], word[2], word[3]);
}

// What one thread finds out about a group for those that restore it.
__device__ inline void unpack_group(const u8 *sent, u32 mine, u32 position, Shape shape, u32 group, RestoreShared &shared) {
    const u32 end = mine + shape.fixed_bytes();
    HighParts high;
    Bits64 first = {word_at(sent, end - 8), word_at(sent, end - 4)};
    high_parts((const u32 *)sent, position, first, shape, high);
    const Bits64 *bit = high.bit;
    u32 *nibbles = shared.nibbles[group], *more = shared.more[group];
    write_nibbles(bit[0].low, bit[1].low, bit[2].low, bit[3].low, nibbles);
    write_nibbles(bit[0].up, bit[1].up, bit[2].up, bit[3].up, nibbles + 4);
    bool large = (bit[4].low | bit[4].up | bit[5].low | bit[5].up | bit[6].low | bit[6].up) != 0;
    if (large) {
        write_nibbles(bit[4].low, bit[5].low, bit[6].low, 0, more);
        write_nibbles(bit[4].up, bit[5].up, bit[6].up, 0, more + 4);
    }
    shared.large[group] = large;
    shared.signs[group][0] = word_at(sent, mine);
    shared.signs[group][1] = word_at(sent, mine + 4);
}

// The magnitudes of values 8r + l of a group, as numbers, where each has four low bits and is below 256.
__device__ inline void small_magnitudes(const u8 *sent, u32 low_part, u32 l, const u32 *nibbles, float *magnitude) {
    const u32 word = word_at(sent, low_part + 4 * l), to_upper = l < 4 ? 4 : 0;
    #pragma unroll
    for (u32 half = 0; half < 2; half++) {
        // Bytes from nibbles: each byte twice, and then of each second one the upper nibble.
        u32 low = __byte_perm(word, 0, half == 0 ? 0x1100 : 0x3322);
        low = merge(0x000f000fu, low, low >> 4);
        u32 bytes = merge(0xf0f0f0f0u, nibbles[4 * half + l % 4] << to_upper, low);
        // A number below 2^23 in the low bits of 2^23.
        #pragma unroll
        for (u32 r = 0; r < 4; r++)
            magnitude[4 * half + r] = __fsub_rn(__uint_as_float(__byte_perm(bytes, 0x4b000000u, 0x7440 + r)), 8388608.0f);
    }
}

// The same for any shape, and for any magnitude; `more` is null where high parts are below 16.
__device__ inline void any_magnitudes(const u8 *sent, u32 low_part, Shape shape, u32 l, const u32 *nibbles, const u32 *more,
                                      float *magnitude) {
    u32 whole[8];
    #pragma unroll
    for (u32 row = 0; row < 8; row++) {
        u32 word = row / 4 * 4 + l % 4, shift = row % 4 * 8 + l / 4 * 4;
        whole[row] = ((nibbles[word] >> shift & 15) | (more ? (more[word] >> shift & 15) << 4 : 0)) << shape.low_bits;
    }
    #pragma unroll 1
    for (u32 layer = 0; layer < shape.nibble_layers(); layer++) {
        u32 word = word_at(sent, low_part + 32 * layer + 4 * l);
        #pragma unroll
        for (u32 row = 0; row < 8; row++) whole[row] |= (word >> 4 * row & 15) << 4 * layer;
    }
    low_part += 32 * shape.nibble_layers();
    #pragma unroll 1
    for (u32 plane = 0; plane < shape.low_planes(); plane++) {
        const u32 mask[2] = {word_at(sent, low_part + 8 * plane), word_at(sent, low_part + 8 * plane + 4)};
        u32 bit = 4 * shape.nibble_layers() + plane;
        #pragma unroll
        for (u32 row = 0; row < 8; row++) whole[row] |= (mask[row / 4] >> row % 4 * 8 + l & 1) << bit;
    }
    #pragma unroll
    for (u32 row = 0; row < 8; row++) magnitude[row] = __uint2float_rn(whole[row]);
}

template <int KIND>
__device__ void restore(const u8 *sent, const ChunkPlan *chunks, const SegmentPlan *segments, const u32 *positions,
                        const u32 *damaged, typename Element<KIND>::Bits *values) {
    __shared__ __align__(16) RestoreShared shared;
    const ChunkPlan chunk = chunks[blockIdx.x / CHUNK_SEGMENTS];
    const u32 start = blockIdx.x % CHUNK_SEGMENTS * SEGMENT;
    // Positions of damaged parts lead nowhere.
    if (chunk.unit == 0 || start >= chunk.elements || *damaged != 0) return;
    const SegmentPlan segment = segments[blockIdx.x];
    const Shape shape(chunk.shape);
    const u32 here = umin(SEGMENT, chunk.elements - start);
    const u8 *codes = sent + segment.codes;
    const u32 stored = stored_blocks(codes, (here + BLOCK - 1) / BLOCK);

    // One thread for each group, and one for each block.
    if (threadIdx.x < SEGMENT_GROUPS) {
        u32 block = threadIdx.x / GROUPS;
        if (threadIdx.x * GROUP < here && stored >> block & 1) {
            u32 before = __popc(stored & (1u << block) - 1) * GROUPS + threadIdx.x % GROUPS;
            u32 position = positions[blockIdx.x * SEGMENT_GROUPS + threadIdx.x];
            unpack_group(sent, segment.fixed + before * shape.fixed_bytes(), position, shape, threadIdx.x, shared);
        }
    } else {
        u32 block = threadIdx.x - SEGMENT_GROUPS;
        if (block < SEGMENT_BLOCKS && stored >> block & 1)
            shared.step[block] = block_step(__uint_as_float(chunk.unit), codes[block]);
    }
    __syncthreads();

    // Thread l of a group has values 8r + l, whose bits lie a byte apart in each mask.
    const u32 l = threadIdx.x % 8;
    typename Element<KIND>::Bits *of_segment = values + ((u64)(blockIdx.x / CHUNK_SEGMENTS) * CHUNK + start + l);
    #pragma unroll 1
    for (u32 group = threadIdx.x / 8; group * GROUP < here; group += RESTORE_THREADS / 8) {
        const u32 left = here - group * GROUP, block = group / GROUPS;
        typename Element<KIND>::Bits *out = of_segment + group * GROUP;
        if (!(stored >> block & 1)) {
            #pragma unroll 1
            for (u32 row = 0; row < 8; row++)
                if (8 * row + l < left) out[8 * row] = 0;
            continue;
        }
        u32 before = __popc(stored & (1u << block) - 1) * GROUPS + group % GROUPS;
        u32 low_part = segment.fixed + before * shape.fixed_bytes() + 8;
        float magnitude[8];
        const bool large = shared.large[group];
        if (shape.low_bits == 4 && !large)
            small_magnitudes(sent, low_part, l, shared.nibbles[group], magnitude);
        else
            any_magnitudes(sent, low_part, shape, l, shared.nibbles[group], large ? shared.more[group] : nullptr, magnitude);
        const float step = shared.step[block];
        const u32 signs[2] = {shared.signs[group][0] << 7 - l, shared.signs[group][1] << 7 - l};
        #pragma unroll
        for (u32 row = 0; row < 8; row++) {
            u32 value = __float_as_uint(__fmul_rn(magnitude[row], step)), sign = signs[row / 4] << 24 - row % 4 * 8;
            typename Element<KIND>::Bits restored = Element<KIND>::narrow(__uint_as_float(value | sign & 0x80000000u));
            if (8 * row + l < left) out[8 * row] = restored;
        }
    }
}
