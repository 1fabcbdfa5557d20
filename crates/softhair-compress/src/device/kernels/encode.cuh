// Grain compression in four launches, each over a window of chunks of one tensor:
//   survey  a block of threads for each chunk: its largest magnitude
//   encode  a block of threads for each segment, a warp for each block: fixed and variable part into the segment's slot
//   total   a warp for each chunk: its length and its errors, added in the order in which the processor adds them
//   gather  a block of threads for each segment: from its slot to where it belongs in the frame's payload
#pragma once
#include "grain.cuh"

constexpr u32 ENCODE_THREADS = 32 * SEGMENT_BLOCKS;
constexpr u32 SURVEY_THREADS = 512;
constexpr u32 GATHER_THREADS = 256;
// Bytes of a segment's variable part that a slot has room for: six bits a value, where less than five can occur.
constexpr u32 VARIABLE_BYTES = 3072;
// Words that the bits of one group may take before they are placed: nine bits a value, where less than nine can occur.
constexpr u32 GROUP_WORDS = 20;

// What steps are multiples of, in one chunk.
struct ChunkScale {
    // Brings the largest magnitude to between 1 and 2.
    float prescale;
    float unit;
    int exponent;
    // 0 if this chunk cannot be coded here; the processor knows what to do with it.
    u32 usable;
};

// What encoding one segment gives beside its bytes. The host does not read it.
struct SegmentRecord {
    double squared_error[SEGMENT_BLOCKS];
    double squared_norm[SEGMENT_BLOCKS];
    double max_error[SEGMENT_BLOCKS];
    u8 codes[SEGMENT_BLOCKS];
    u32 fixed_bytes;
    u32 variable_bytes;
    u32 refused;
    // Where its parts go, from the start of the chunk's payload.
    u32 fixed_at;
    u32 variable_at;
    u32 unused;
};

// What the host learns of a chunk.
struct ChunkRecord {
    // Bytes of the payload without the chunk's header; 0 if the processor has to code this chunk.
    u32 payload_bytes;
    u32 unused;
    double max_error;
    double squared_error;
    double squared_norm;
};

// From the bits of the largest magnitude; `fraction` is how many root mean squares a step is.
__device__ inline ChunkScale scale_of(u32 largest_bits, double fraction) {
    ChunkScale scale = {1.0f, 1.0f, 0, 0};
    int biased = (int)(largest_bits >> 23);
    // Infinite, not a number, or subnormal.
    if (biased == 255 || (biased == 0 && largest_bits != 0)) return scale;
    scale.exponent = biased == 0 ? 0 : biased - 127;
    if (scale.exponent < -80 || scale.exponent > 100) return scale;
    scale.prescale = power_f32(-scale.exponent);
    scale.unit = __double2float_rn(__dmul_rn(fraction, power_f64(scale.exponent + 1)));
    // The smallest step and its inverse must still be exact to the last bit.
    int smallest = (int)(__float_as_uint(scale.unit) >> 23) - 127;
    scale.usable = smallest >= -80 && smallest <= 100;
    return scale;
}

template <int KIND>
__device__ void survey(const typename Element<KIND>::Bits *values, u32 elements, double fraction, ChunkScale *scales) {
    typedef typename Element<KIND>::Bits Bits;
    __shared__ u32 partial[SURVEY_THREADS / 32];
    const ChunkSize size(elements, blockIdx.x);
    const Bits *chunk = values + (u64)blockIdx.x * CHUNK;
    const u32 magnitude = KIND == F32 ? 0x7fffffffu : 0x7fffu;
    u32 largest = 0;
    // Magnitudes are ordered like their bits, in every format.
    if (size.elements == CHUNK) {
        #pragma unroll 16
        for (u32 i = 0; i < CHUNK; i += SURVEY_THREADS) largest = max(largest, chunk[i + threadIdx.x] & magnitude);
    } else {
        for (u32 i = threadIdx.x; i < size.elements; i += SURVEY_THREADS) largest = max(largest, chunk[i] & magnitude);
    }
    for (int apart = 16; apart > 0; apart >>= 1) largest = max(largest, __shfl_xor_sync(ALL, largest, apart));
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = largest;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 i = 1; i < SURVEY_THREADS / 32; i++) largest = max(largest, partial[i]);
        scales[blockIdx.x] = scale_of(__float_as_uint(Element<KIND>::widen((Bits)largest)), fraction);
    }
}

// Quarter octaves of a mean square, from its bits: logarithms differ between machines.
__device__ inline int level(float mean_square) {
    u32 bits = __float_as_uint(mean_square);
    u32 mantissa = bits & 0x007fffff;
    int exponent = (int)(bits >> 23) - 127;
    return 4 * exponent + (mantissa >= 0x000b95c2) + (mantissa >= 0x0025fed7) + (mantissa >= 0x0045672a) +
           (mantissa >= 0x006ac0c7);
}

// A mask of 32 values by their high parts, eight words of four bytes 0x80 + high: value 8b + j is byte b of word j.
__device__ inline u32 at_least(const u32 *high, u32 threshold) {
    u32 subtract = threshold * 0x01010101u;
    u32 mask = 0;
    #pragma unroll
    for (int j = 0; j < 8; j++) mask |= (high[j] - subtract & 0x80808080u) >> (7 - j);
    return mask;
}

__device__ inline u32 odd(const u32 *high) {
    u32 mask = 0;
    #pragma unroll
    for (int j = 0; j < 8; j++) mask |= (high[j] & 0x01010101u) << j;
    return mask;
}

// Bits in a row, into words that are SEGMENT_GROUPS apart.
struct BitWriter {
    u32 *words;
    u32 count;
    u32 filled;
    u32 pending;

    __device__ explicit BitWriter(u32 *into) : words(into), count(0), filled(0), pending(0) {}

    // `bits` has nothing above its lowest `many`, of up to 32.
    __device__ void put(u32 bits, u32 many) {
        pending |= bits << filled;
        u32 over = __funnelshift_l(bits, 0, filled);
        filled += many;
        if (filled >= 32) {
            store();
            pending = over;
            filled -= 32;
        }
    }
    // The bits of the lower half, then those of the upper.
    __device__ void put(Bits64 bits, Bits64 many) {
        u32 low = __popc(many.low), up = __popc(many.up);
        if (low + up <= 32) {
            put(bits.low | __funnelshift_lc(0, bits.up, low), low + up);
        } else {
            put(bits.low, low);
            put(bits.up, up);
        }
    }
    __device__ void store() {
        if (count < GROUP_WORDS) words[count * SEGMENT_GROUPS] = pending;
        count++;
    }
    __device__ u32 finish() {
        u32 bits = 32 * count + filled;
        if (filled > 0) store();
        return bits;
    }
    __device__ bool overflowed() const { return count > GROUP_WORDS; }
};

// The variable part of one group, and the mask of its first threshold.
__device__ inline Bits64 variable_part(const u32 *high, Shape shape, BitWriter &bits) {
    u32 low[8], up[8];
    #pragma unroll
    for (int j = 0; j < 8; j++) {
        low[j] = high[j];
        up[j] = high[8 + j];
    }
    Bits64 passed = {at_least(low, shape.threshold(1)), at_least(up, shape.threshold(1))};
    const Bits64 first = passed;
    Bits64 narrow = {0, 0};
    if (shape.wide == 1) narrow = passed;
    for (u32 c = 2; c <= MAX_CLASS && (passed.low | passed.up) != 0; c++) {
        Bits64 next = {at_least(low, shape.threshold(c)), at_least(up, shape.threshold(c))};
        bits.put(gather_few(next, passed), passed);
        passed = next;
        if (c == shape.wide) narrow = next;
    }
    if (shape.wide > 0) {
        Bits64 wide = {~narrow.low, ~narrow.up};
        Bits64 odds = {odd(low) & wide.low, odd(up) & wide.up};
        bits.put(gather_most(odds, wide), wide);
    }
    return first;
}

// Blocks of a segment on their way, a number for each.
struct OfBlocks {
    float norm[SEGMENT_BLOCKS];
    float step[SEGMENT_BLOCKS];
    float inverse[SEGMENT_BLOCKS];
    float squares[SEGMENT_BLOCKS];
    float max_error[SEGMENT_BLOCKS];
    u32 any_bits[SEGMENT_BLOCKS];
    // Blocks that are not all +0.
    u32 stored;
    u32 refused;
};

// The step of each block, in one warp: lane by lane what would else be done by whole warps.
__device__ inline void choose_steps(const ChunkSize &size, u32 segment, const ChunkScale &scale, OfBlocks &blocks,
                                    SegmentRecord &record) {
    const u32 lane = threadIdx.x, start = segment * SEGMENT + lane * BLOCK;
    const bool mine = lane < SEGMENT_BLOCKS && start < size.elements;
    bool stored = false;
    if (mine) {
        float norm = blocks.norm[lane];
        // No sum of squares may still be small numbers, or -0.
        stored = norm != 0.0f || blocks.any_bits[lane] != 0;
        u32 present = umin(BLOCK, size.elements - start);
        float mean_square = present == BLOCK ? __fmul_rn(norm, 1.0f / BLOCK)
                                             : __double2float_rn(__ddiv_rn((double)norm, (double)present));
        // The largest value lies below 2, and so does every root mean square: level 8 is code 0.
        int code = min(max(8 - level(mean_square), 0), ZERO_BLOCK - 1);
        float step = block_step(scale.unit, code);
        blocks.step[lane] = step;
        blocks.inverse[lane] = __fdiv_rn(1.0f, step);
        record.codes[lane] = stored ? (u8)code : ZERO_BLOCK;
    }
    u32 all_stored = __ballot_sync(ALL, stored);
    if (lane == 0) blocks.stored = all_stored;
}

template <int KIND>
__device__ void encode(const typename Element<KIND>::Bits *values, u32 elements, const ChunkScale *scales, Shape shape,
                       u8 *slots, u32 slot_bytes, SegmentRecord *records) {
    __shared__ __align__(16) u8 high[SEGMENT_BLOCKS][ROWS][32];
    __shared__ u32 group_words[GROUP_WORDS * SEGMENT_GROUPS];
    __shared__ u32 variable[VARIABLE_BYTES / 4];
    __shared__ u32 group_bits[SEGMENT_GROUPS];
    __shared__ OfBlocks blocks;

    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 chunk = blockIdx.x / CHUNK_SEGMENTS, segment = blockIdx.x % CHUNK_SEGMENTS;
    const ChunkSize size(elements, chunk);
    if (segment >= size.segments) return;
    SegmentRecord &record = records[blockIdx.x];
    const ChunkScale scale = scales[chunk];
    if (!scale.usable) {
        if (threadIdx.x == 0) record.refused = 1;
        return;
    }
    const u32 start = segment * SEGMENT + warp * BLOCK;
    const u32 present = start < size.elements ? umin(BLOCK, size.elements - start) : 0;
    const typename Element<KIND>::Bits *block = values + ((u64)chunk * CHUNK + start);

    if (threadIdx.x == 0) blocks.refused = 0;
    for (u32 i = threadIdx.x; i < VARIABLE_BYTES / 4; i += ENCODE_THREADS) variable[i] = 0;

    // Value 32·row + lane of the block; absent ones are +0.
    float value[ROWS];
    if (present == BLOCK) {
        #pragma unroll
        for (u32 row = 0; row < ROWS; row++) value[row] = Element<KIND>::widen(block[32 * row + lane]);
    } else {
        #pragma unroll
        for (u32 row = 0; row < ROWS; row++)
            value[row] = 32 * row + lane < present ? Element<KIND>::widen(block[32 * row + lane]) : 0.0f;
    }
    u32 any_bits = 0;
    float norm = 0.0f;
    #pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        float scaled = __fmul_rn(value[row], scale.prescale);
        norm = __fadd_rn(norm, __fmul_rn(scaled, scaled));
        any_bits |= __float_as_uint(value[row]);
    }
    norm = fold(norm);
    any_bits = __any_sync(ALL, any_bits != 0);
    if (lane == 0) {
        blocks.norm[warp] = norm;
        blocks.any_bits[warp] = any_bits;
    }
    __syncthreads();
    if (warp == 0) choose_steps(size, segment, scale, blocks, record);
    __syncthreads();

    const u32 stored = blocks.stored;
    const u32 groups = (present + GROUP - 1) / GROUP;
    u8 *slot = slots + (u64)blockIdx.x * slot_bytes;
    // Only the last block of a chunk has fewer groups, and nothing follows it.
    u8 *fixed = slot + __popc(stored & (1u << warp) - 1) * GROUPS * shape.fixed_bytes();

    if (stored >> warp & 1) {
        const float step = blocks.step[warp], inverse = blocks.inverse[warp];
        // Beyond its classes, or beyond what is rounded exactly below, a value is the processor's business.
        const float limit = (float)umin(((MAX_CLASS + shape.wide) << shape.low_bits) - 1, 4194303) + 0.5f;
        u32 magnitude[ROWS], signs = 0;
        float largest = 0.0f, max_error = 0.0f, squares = 0.0f;
        double wide_max = 0.0, wide_squares = 0.0, wide_norm = 0.0;
        u8 *of_lane = &high[warp][0][lane % 8 * 4 + lane / 8];
        #pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            // Adding 1.5·2^23 rounds to a whole number, ties to even, and leaves it in the low bits.
            float steps = __fmul_rn(fabsf(value[row]), inverse);
            float shifted = __fadd_rn(steps, 12582912.0f);
            float restored = __fmul_rn(__fsub_rn(shifted, 12582912.0f), step);
            magnitude[row] = __float_as_uint(shifted) - 0x4b400000u;
            largest = fmaxf(largest, steps);
            if (KIND == F32) {
                float error = fabsf(__fsub_rn(fabsf(value[row]), restored));
                float in_steps = __fmul_rn(error, inverse);
                squares = __fadd_rn(squares, __fmul_rn(in_steps, in_steps));
                max_error = fmaxf(max_error, error);
            } else {
                // What counts is the error after rounding to the type of the data.
                double narrowed = Element<KIND>::widen(Element<KIND>::narrow(restored));
                double original = fabsf(value[row]);
                double error = fabs(__dsub_rn(original, narrowed));
                wide_squares = __dadd_rn(wide_squares, __dmul_rn(error, error));
                wide_norm = __dadd_rn(wide_norm, __dmul_rn(original, original));
                wide_max = fmax(wide_max, error);
            }
            u32 negative = __ballot_sync(ALL, (int)__float_as_uint(value[row]) < 0);
            if (lane == row) signs = negative;
            of_lane[32 * row] = (u8)(0x80 | magnitude[row] >> shape.low_bits);
        }
        if (__any_sync(ALL, !(largest < limit)) && lane == 0) atomicOr(&blocks.refused, 1);
        if (KIND == F32) {
            squares = fold(squares);
            max_error = fold_max(max_error);
            if (lane == 0) {
                blocks.squares[warp] = squares;
                blocks.max_error[warp] = max_error;
            }
        } else {
            wide_squares = fold(wide_squares);
            wide_norm = fold(wide_norm);
            for (int apart = 16; apart > 0; apart >>= 1) wide_max = fmax(wide_max, __shfl_xor_sync(ALL, wide_max, apart));
            if (lane == 0) {
                record.max_error[warp] = wide_max;
                record.squared_error[warp] = wide_squares;
                record.squared_norm[warp] = wide_norm;
            }
        }

        // Signs: lane `row` has the half mask of group row / 2.
        if (lane < 2 * groups) *(u32 *)(fixed + lane / 2 * shape.fixed_bytes() + lane % 2 * 4) = signs;
        // Low bits in layers of four: word l of a group has value 8r + l in nibble r, so lanes of equal l join.
        u8 *low_part = fixed + 8;
        for (u32 layer = 0; layer < shape.nibble_layers(); layer++) {
            u32 word[GROUPS];
            #pragma unroll
            for (u32 group = 0; group < GROUPS; group++) {
                u32 near = magnitude[2 * group] >> 4 * layer & 15, far = magnitude[2 * group + 1] >> 4 * layer & 15;
                word[group] = (near | far << 16) << lane / 8 * 4;
            }
            // Lanes 16 apart, then 8 apart, each keep half of the groups: lane 8g + l ends with word l of group g.
            bool upper = lane & 16;
            u32 kept0 = upper ? word[2] : word[0], kept1 = upper ? word[3] : word[1];
            kept0 |= __shfl_xor_sync(ALL, upper ? word[0] : word[2], 16);
            kept1 |= __shfl_xor_sync(ALL, upper ? word[1] : word[3], 16);
            bool odd_group = lane & 8;
            u32 kept = (odd_group ? kept1 : kept0) | __shfl_xor_sync(ALL, odd_group ? kept0 : kept1, 8);
            if (lane / 8 < groups)
                *(u32 *)(low_part + lane / 8 * shape.fixed_bytes() + 32 * layer + lane % 8 * 4) = kept;
        }
        low_part += 32 * shape.nibble_layers();
        for (u32 plane = 0; plane < shape.low_planes(); plane++) {
            u32 bit = 4 * shape.nibble_layers() + plane, mask = 0;
            #pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                u32 ballot = __ballot_sync(ALL, magnitude[row] >> bit & 1);
                if (lane == row) mask = ballot;
            }
            if (lane < 2 * groups)
                *(u32 *)(low_part + lane / 2 * shape.fixed_bytes() + 8 * plane + lane % 2 * 4) = mask;
        }
    }
    __syncthreads();

    // One thread for each group.
    u32 bits = 0;
    if (threadIdx.x < SEGMENT_GROUPS) {
        u32 of_block = threadIdx.x / GROUPS, group = threadIdx.x % GROUPS;
        u32 first = segment * SEGMENT + threadIdx.x * GROUP;
        if (first < size.elements && stored >> of_block & 1) {
            BitWriter writer(group_words + threadIdx.x);
            Bits64 passed = variable_part((const u32 *)high[of_block][2 * group], shape, writer);
            bits = writer.finish();
            if (writer.overflowed()) atomicOr(&blocks.refused, 1);
            u32 before = __popc(stored & (1u << of_block) - 1);
            u32 *end = (u32 *)(slot + (before * GROUPS + group + 1) * shape.fixed_bytes());
            end[-2] = passed.low;
            end[-1] = passed.up;
        }
        group_bits[threadIdx.x] = bits;
    } else if (KIND == F32 && warp == 2 && lane < SEGMENT_BLOCKS) {
        // Meanwhile another warp writes down the errors.
        double max_error = 0.0, squared_error = 0.0, squared_norm = 0.0;
        if (stored >> lane & 1) {
            double unscale = power_f64(scale.exponent), step = blocks.step[lane];
            max_error = blocks.max_error[lane];
            squared_error = __dmul_rn(__dmul_rn(blocks.squares[lane], step), step);
            squared_norm = __dmul_rn(__dmul_rn(blocks.norm[lane], unscale), unscale);
        }
        record.max_error[lane] = max_error;
        record.squared_error[lane] = squared_error;
        record.squared_norm[lane] = squared_norm;
    } else if (KIND != F32 && warp == 2 && lane < SEGMENT_BLOCKS && !(stored >> lane & 1)) {
        record.max_error[lane] = record.squared_error[lane] = record.squared_norm[lane] = 0.0;
    }
    __syncthreads();

    // Where each group's bits go: behind those of the groups before it.
    if (warp == 0) {
        u32 mine = group_bits[2 * lane], pair = mine + group_bits[2 * lane + 1], sum = pair;
        for (u32 apart = 1; apart < 32; apart <<= 1) {
            u32 before = __shfl_up_sync(ALL, sum, apart);
            if (lane >= apart) sum += before;
        }
        group_bits[2 * lane] = sum - pair;
        group_bits[2 * lane + 1] = sum - pair + mine;
        if (lane == 31) {
            u32 present_blocks = umin(SEGMENT_BLOCKS, size.blocks - segment * SEGMENT_BLOCKS);
            u32 stored_groups = __popc(stored) * GROUPS;
            // The last block of the chunk, if it is short.
            u32 tail = size.elements % BLOCK;
            bool short_block = tail != 0 && segment + 1 == size.segments && (stored >> present_blocks - 1 & 1);
            if (short_block) stored_groups -= GROUPS - (tail + GROUP - 1) / GROUP;
            bool too_long = sum > 8 * VARIABLE_BYTES;
            if (too_long) atomicOr(&blocks.refused, 1);
            record.fixed_bytes = stored_groups * shape.fixed_bytes();
            record.variable_bytes = (sum + 7) / 8;
            record.refused = blocks.refused;
        }
    }
    __syncthreads();
    if (blocks.refused) return;
    if (threadIdx.x < SEGMENT_GROUPS) {
        u32 at = group_bits[threadIdx.x];
        for (u32 i = 0; 32 * i < bits; i++, at += 32) {
            u32 word = group_words[i * SEGMENT_GROUPS + threadIdx.x];
            atomicOr(&variable[at / 32], word << at % 32);
            u32 spilled = __funnelshift_l(word, 0, at);
            if (spilled != 0) atomicOr(&variable[at / 32 + 1], spilled);
        }
    }
    __syncthreads();
    u32 *variable_slot = (u32 *)(slot + SEGMENT_GROUPS * shape.fixed_bytes());
    for (u32 i = threadIdx.x; 4 * i < record.variable_bytes; i += ENCODE_THREADS) variable_slot[i] = variable[i];
}

// Adds in the order of the blocks, as the processor does, and finds where each segment goes: one warp, all lanes the same.
__device__ inline void total(u32 elements, SegmentRecord *records, ChunkRecord *chunks) {
    const u32 lane = threadIdx.x;
    const ChunkSize size(elements, blockIdx.x);
    SegmentRecord *of_chunk = records + blockIdx.x * CHUNK_SEGMENTS;
    double squared_error = 0.0, squared_norm = 0.0, max_error = 0.0;
    // Lane by lane: the segments before this one, and all of them.
    bool there = lane < size.segments;
    bool refused = __any_sync(ALL, there && of_chunk[there ? lane : 0].refused);
    u32 fixed = 0, variable = 0;
    if (there && !refused) {
        fixed = of_chunk[lane].fixed_bytes;
        variable = of_chunk[lane].variable_bytes;
    }
    u32 fixed_sum = fixed, variable_sum = variable;
    for (u32 apart = 1; apart < 32; apart <<= 1) {
        u32 fixed_before = __shfl_up_sync(ALL, fixed_sum, apart), variable_before = __shfl_up_sync(ALL, variable_sum, apart);
        if (lane >= apart) {
            fixed_sum += fixed_before;
            variable_sum += variable_before;
        }
    }
    u32 all_fixed = __shfl_sync(ALL, fixed_sum, 31), all_variable = __shfl_sync(ALL, variable_sum, 31);
    u32 fixed_start = HEADER_BYTES + size.blocks + 2 * size.segments;
    if (there && !refused) {
        of_chunk[lane].fixed_at = fixed_start + fixed_sum - fixed;
        of_chunk[lane].variable_at = fixed_start + all_fixed + variable_sum - variable;
    }
    for (u32 segment = 0; segment < size.segments && !refused; segment++) {
        const SegmentRecord &record = of_chunk[segment];
        u32 blocks = umin(SEGMENT_BLOCKS, size.blocks - segment * SEGMENT_BLOCKS);
        bool mine = lane < blocks;
        double error = mine ? record.squared_error[lane] : 0.0;
        double norm = mine ? record.squared_norm[lane] : 0.0;
        double largest = mine ? record.max_error[lane] : 0.0;
        for (u32 block = 0; block < blocks; block++) {
            squared_error = __dadd_rn(squared_error, __shfl_sync(ALL, error, block));
            squared_norm = __dadd_rn(squared_norm, __shfl_sync(ALL, norm, block));
        }
        max_error = fmax(max_error, largest);
    }
    for (int apart = 16; apart > 0; apart >>= 1) max_error = fmax(max_error, __shfl_xor_sync(ALL, max_error, apart));
    if (lane == 0) {
        ChunkRecord &chunk = chunks[blockIdx.x];
        chunk.payload_bytes = refused ? 0 : fixed_start + all_fixed + all_variable;
        chunk.unused = 0;
        chunk.max_error = max_error;
        chunk.squared_error = squared_error;
        chunk.squared_norm = squared_norm;
    }
}

// Copies bytes to any address, from one that is a multiple of four and may be read up to the next multiple.
__device__ inline void copy(u8 *to, const u8 *from, u32 bytes) {
    u32 head = umin(bytes, -(u32)(u64)to & 3);
    if (threadIdx.x < head) to[threadIdx.x] = from[threadIdx.x];
    u32 words = (bytes - head) / 4, shift = 8 * head;
    const u32 *source = (const u32 *)from;
    for (u32 i = threadIdx.x; i < words; i += blockDim.x) {
        u32 word = shift == 0 ? source[i] : __funnelshift_r(source[i], source[i + 1], shift);
        ((u32 *)(to + head))[i] = word;
    }
    u32 done = head + 4 * words;
    if (threadIdx.x < bytes - done) to[done + threadIdx.x] = from[done + threadIdx.x];
}

__device__ inline void gather(u32 elements, const ChunkScale *scales, Shape shape, const u8 *slots, u32 slot_bytes,
                              const SegmentRecord *records, const ChunkRecord *chunks, u8 *packed) {
    __shared__ u32 chunks_before;
    const u32 chunk = blockIdx.x / CHUNK_SEGMENTS, segment = blockIdx.x % CHUNK_SEGMENTS;
    const ChunkSize size(elements, chunk);
    const u32 payload_bytes = chunks[chunk].payload_bytes;
    if (segment >= size.segments || payload_bytes == 0) return;
    if (threadIdx.x < 32) {
        u32 before = 0;
        for (u32 i = threadIdx.x; i < chunk; i += 32) {
            u32 bytes = chunks[i].payload_bytes;
            before += bytes == 0 ? 0 : CHUNK_HEADER_BYTES + bytes;
        }
        for (int apart = 16; apart > 0; apart >>= 1) before += __shfl_xor_sync(ALL, before, apart);
        if (threadIdx.x == 0) chunks_before = before;
    }
    __syncthreads();
    u8 *frame = packed + chunks_before;
    u8 *payload = frame + CHUNK_HEADER_BYTES;
    u8 *codes = payload + HEADER_BYTES, *lengths = codes + size.blocks;
    const SegmentRecord &record = records[blockIdx.x];
    if (threadIdx.x < umin(SEGMENT_BLOCKS, size.blocks - segment * SEGMENT_BLOCKS))
        codes[segment * SEGMENT_BLOCKS + threadIdx.x] = record.codes[threadIdx.x];
    if (threadIdx.x < 2) lengths[2 * segment + threadIdx.x] = (u8)(record.variable_bytes >> 8 * threadIdx.x);
    if (segment == 0) {
        u64 unit = (u64)__double_as_longlong((double)scales[chunk].unit);
        u32 i = threadIdx.x;
        if (i < 4) frame[i] = i == 0 ? FAMILY_GRAIN : 0;
        else if (i < 8) frame[i] = (u8)(payload_bytes >> 8 * (i - 4));
        // Mode 0, the shape, two zeros, no exceptions, the unit.
        else if (i < 16) frame[i] = i == 9 ? (u8)shape.code() : 0;
        else if (i < 24) frame[i] = (u8)(unit >> 8 * (i - 16));
    }
    const u8 *slot = slots + (u64)blockIdx.x * slot_bytes;
    copy(payload + record.fixed_at, slot, record.fixed_bytes);
    copy(payload + record.variable_at, slot + SEGMENT_GROUPS * shape.fixed_bytes(), record.variable_bytes);
}
