// Grain decompression in two launches, each over a window of chunks of one tensor:
//   index    a thread for each segment: where in its variable part each group begins
//   restore  a block of threads for each segment: values, straight to where they belong
//
// The host has checked that all fixed and variable parts lie inside what was sent, and that 16 bytes follow it; a variable part
// that does not describe exactly its groups is found here.
#pragma once
#include "grain.cuh"

constexpr u32 INDEX_THREADS = 64;
constexpr u32 RESTORE_THREADS = 8 * SEGMENT_GROUPS;
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
    u32 group_end = segment.fixed;
    u32 at = 8 * segment.variable;
    for (u32 i = 0; i < SEGMENT_GROUPS && start + i * GROUP < chunk.elements; i++) {
        if (sent[segment.codes + i / GROUPS] == ZERO_BLOCK) continue;
        positions[which * SEGMENT_GROUPS + i] = at;
        group_end += shape.fixed_bytes();
        // Only how many pass each threshold matters here, not which.
        u32 passed = __popc(word_at(sent, group_end - 8)) + __popc(word_at(sent, group_end - 4));
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

// The next bits for a mask: one for each of its values, those of the lower half first.
__device__ inline Bits64 take(const u32 *words, u32 &at, Bits64 mask) {
    u32 low = __popc(mask.low), up = __popc(mask.up);
    Bits64 both = take(words, at, low + up);
    Bits64 parted = {both.low, __funnelshift_rc(both.low, both.up, low)};
    return parted;
}

// The high parts of 64 values, a mask for each of their bits.
struct HighParts {
    Bits64 bit[HIGH_BITS];

    // Adds 2^from to the values of a mask.
    __device__ void add(Bits64 mask, u32 from) {
        #pragma unroll
        for (u32 i = 0; i < HIGH_BITS; i++) {
            if (i < from) continue;
            Bits64 over = {bit[i].low & mask.low, bit[i].up & mask.up};
            bit[i].low ^= mask.low;
            bit[i].up ^= mask.up;
            mask = over;
        }
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
        passed = scatter_few(take(words, at, passed), passed);
    }
    if (shape.wide > 0) {
        // Every wide class begins at an even number.
        Bits64 odds = scatter_most(take(words, at, wide), wide);
        high.bit[0].low |= odds.low;
        high.bit[0].up |= odds.up;
    }
}

template <int KIND>
__device__ void restore(const u8 *sent, const ChunkPlan *chunks, const SegmentPlan *segments, const u32 *positions,
                        const u32 *damaged, typename Element<KIND>::Bits *values) {
    __shared__ u32 planes[HIGH_BITS][SEGMENT_GROUPS][2];
    __shared__ bool has_large[SEGMENT_GROUPS];
    const ChunkPlan chunk = chunks[blockIdx.x / CHUNK_SEGMENTS];
    const u32 start = blockIdx.x % CHUNK_SEGMENTS * SEGMENT;
    // Positions of damaged parts lead nowhere.
    if (chunk.unit == 0 || start >= chunk.elements || *damaged != 0) return;
    const SegmentPlan segment = segments[blockIdx.x];
    const Shape shape(chunk.shape);
    const u32 here = umin(SEGMENT, chunk.elements - start);
    const u32 stored = stored_blocks(sent + segment.codes, (here + BLOCK - 1) / BLOCK);

    // One thread for each group.
    if (threadIdx.x < SEGMENT_GROUPS && threadIdx.x * GROUP < here && stored >> threadIdx.x / GROUPS & 1) {
        u32 before = __popc(stored & (1u << threadIdx.x / GROUPS) - 1) * GROUPS + threadIdx.x % GROUPS;
        u32 end = segment.fixed + (before + 1) * shape.fixed_bytes();
        HighParts high;
        Bits64 first = {word_at(sent, end - 8), word_at(sent, end - 4)};
        high_parts((const u32 *)sent, positions[blockIdx.x * SEGMENT_GROUPS + threadIdx.x], first, shape, high);
        bool large = false;
        #pragma unroll
        for (u32 bit = 0; bit < HIGH_BITS; bit++) {
            large |= bit >= 4 && (high.bit[bit].low | high.bit[bit].up) != 0;
            planes[bit][threadIdx.x][0] = high.bit[bit].low;
            planes[bit][threadIdx.x][1] = high.bit[bit].up;
        }
        has_large[threadIdx.x] = large;
    }
    __syncthreads();

    // Eight threads for each group: thread l has values 8r + l, whose bits lie a byte apart in each mask.
    const u32 group = threadIdx.x / 8, l = threadIdx.x % 8;
    if (group * GROUP >= here) return;
    typename Element<KIND>::Bits *out = values + (u64)(blockIdx.x / CHUNK_SEGMENTS) * CHUNK + start + group * GROUP + l;
    const u32 left = here - group * GROUP;
    if (!(stored >> group / GROUPS & 1)) {
        for (u32 row = 0; row < 8; row++)
            if (8 * row + l < left) out[8 * row] = 0;
        return;
    }
    u32 before = __popc(stored & (1u << group / GROUPS) - 1) * GROUPS + group % GROUPS;
    const u32 mine = segment.fixed + before * shape.fixed_bytes();
    const float step = block_step(__uint_as_float(chunk.unit), sent[segment.codes + group / GROUPS]);
    u32 near = 0, far = 0;
    #pragma unroll
    for (u32 bit = 0; bit < HIGH_BITS; bit++) {
        // Weights hardly ever have high parts above 15.
        if (bit == 4 && !has_large[group]) break;
        near |= (planes[bit][group][0] >> l & 0x01010101u) << bit;
        far |= (planes[bit][group][1] >> l & 0x01010101u) << bit;
    }
    u32 magnitude[8];
    #pragma unroll
    for (u32 row = 0; row < 8; row++)
        magnitude[row] = ((row < 4 ? near : far) >> row % 4 * 8 & 0xff) << shape.low_bits;
    u32 low_part = mine + 8;
    for (u32 layer = 0; layer < shape.nibble_layers(); layer++) {
        u32 word = word_at(sent, low_part + 32 * layer + 4 * l);
        #pragma unroll
        for (u32 row = 0; row < 8; row++) magnitude[row] |= (word >> 4 * row & 15) << 4 * layer;
    }
    low_part += 32 * shape.nibble_layers();
    for (u32 plane = 0; plane < shape.low_planes(); plane++) {
        const u32 mask[2] = {word_at(sent, low_part + 8 * plane), word_at(sent, low_part + 8 * plane + 4)};
        u32 bit = 4 * shape.nibble_layers() + plane;
        #pragma unroll
        for (u32 row = 0; row < 8; row++) magnitude[row] |= (mask[row / 4] >> row % 4 * 8 + l & 1) << bit;
    }
    const u32 signs[2] = {word_at(sent, mine), word_at(sent, mine + 4)};
    typename Element<KIND>::Bits restored[8];
    #pragma unroll
    for (u32 row = 0; row < 8; row++) {
        float value = __fmul_rn(__uint2float_rn(magnitude[row]), step);
        u32 sign = signs[row / 4] >> row % 4 * 8 + l << 31;
        restored[row] = Element<KIND>::narrow(__uint_as_float(__float_as_uint(value) | sign));
    }
    if (left >= GROUP) {
        #pragma unroll
        for (u32 row = 0; row < 8; row++) out[8 * row] = restored[row];
    } else {
        #pragma unroll
        for (u32 row = 0; row < 8; row++)
            if (8 * row + l < left) out[8 * row] = restored[row];
    }
}
