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

// What encoding one segment gives beside its bytes. The host does not read it.
struct SegmentRecord {
    double squared_error[SEGMENT_BLOCKS];
    double squared_norm[SEGMENT_BLOCKS];
    double max_error[SEGMENT_BLOCKS];
    u8 codes[SEGMENT_BLOCKS];
    u32 fixed_bytes;
    u32 variable_bytes;
    u32 refused;
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

template <int KIND>
__device__ void survey(const typename Element<KIND>::Bits *values, u64 elements, u32 *largest_bits) {
    __shared__ u32 partial[SURVEY_THREADS / 32];
    ChunkSize size(elements, blockIdx.x);
    const typename Element<KIND>::Bits *chunk = values + (u64)blockIdx.x * CHUNK;
    u32 largest = 0;
    // Magnitudes are ordered like their bits, in every format.
    #pragma unroll 8
    for (u32 i = threadIdx.x; i < size.elements; i += SURVEY_THREADS) {
        u32 bits = chunk[i] & (KIND == F32 ? 0x7fffffffu : 0x7fffu);
        largest = bits > largest ? bits : largest;
    }
    for (int apart = 16; apart > 0; apart >>= 1) {
        u32 other = __shfl_xor_sync(ALL, largest, apart);
        largest = other > largest ? other : largest;
    }
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = largest;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 i = 1; i < SURVEY_THREADS / 32; i++) largest = partial[i] > largest ? partial[i] : largest;
        largest_bits[blockIdx.x] = __float_as_uint(Element<KIND>::widen((typename Element<KIND>::Bits)largest));
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

// Bits in a row, into words that are GROUP_STRIDE apart.
struct BitWriter {
    u32 *words;
    u32 count;
    u32 filled;
    u64 pending;

    __device__ explicit BitWriter(u32 *into) : words(into), count(0), filled(0), pending(0) {}

    // `bits` has nothing above its lowest `many`.
    __device__ void put(u32 bits, u32 many) {
        pending |= (u64)bits << filled;
        filled += many;
        if (filled >= 32) {
            store();
            pending >>= 32;
            filled -= 32;
        }
    }
    __device__ void store() {
        if (count < GROUP_WORDS) words[count * SEGMENT_GROUPS] = (u32)pending;
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
__device__ inline u64 variable_part(const u32 *high, Shape shape, BitWriter &bits) {
    u32 low[8], up[8];
    #pragma unroll
    for (int j = 0; j < 8; j++) {
        low[j] = high[j];
        up[j] = high[8 + j];
    }
    u32 passed_low = at_least(low, shape.threshold(1)), passed_up = at_least(up, shape.threshold(1));
    u64 first = (u64)passed_up << 32 | passed_low;
    u32 beyond_low = shape.wide == 0 ? ALL : shape.wide == 1 ? passed_low : 0;
    u32 beyond_up = shape.wide == 0 ? ALL : shape.wide == 1 ? passed_up : 0;
    for (u32 c = 2; c <= MAX_CLASS && (passed_low | passed_up) != 0; c++) {
        u32 next_low = at_least(low, shape.threshold(c)), next_up = at_least(up, shape.threshold(c));
        bits.put(gather_few(next_low, passed_low), __popc(passed_low));
        bits.put(gather_few(next_up, passed_up), __popc(passed_up));
        passed_low = next_low;
        passed_up = next_up;
        if (c == shape.wide) {
            beyond_low = next_low;
            beyond_up = next_up;
        }
    }
    if (shape.wide > 0) {
        bits.put(gather_most(odd(low) & ~beyond_low, ~beyond_low), __popc(~beyond_low));
        bits.put(gather_most(odd(up) & ~beyond_up, ~beyond_up), __popc(~beyond_up));
    }
    return first;
}

template <int KIND>
__device__ void encode(const typename Element<KIND>::Bits *values, u64 elements, const u32 *largest_bits,
                       double fraction, Shape shape, u8 *slots, u32 slot_bytes, SegmentRecord *records) {
    __shared__ __align__(16) u8 high[SEGMENT_BLOCKS][ROWS][32];
    __shared__ u32 group_words[GROUP_WORDS * SEGMENT_GROUPS];
    __shared__ u32 variable[VARIABLE_BYTES / 4];
    __shared__ u32 group_bits[SEGMENT_GROUPS];
    __shared__ u32 nonzero[SEGMENT_BLOCKS];
    __shared__ u32 refused;

    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 chunk = blockIdx.x / CHUNK_SEGMENTS, segment = blockIdx.x % CHUNK_SEGMENTS;
    const ChunkSize size(elements, chunk);
    if (segment >= size.segments) return;
    SegmentRecord &record = records[blockIdx.x];
    const Scale scale(largest_bits[chunk], fraction);
    if (!scale.usable) {
        if (threadIdx.x == 0) record.refused = 1;
        return;
    }
    const u32 start = segment * SEGMENT + warp * BLOCK;
    const u32 present = start < size.elements ? umin(BLOCK, size.elements - start) : 0;
    const typename Element<KIND>::Bits *block = values + (u64)chunk * CHUNK + start;

    if (threadIdx.x == 0) refused = 0;
    for (u32 i = threadIdx.x; i < VARIABLE_BYTES / 4; i += ENCODE_THREADS) variable[i] = 0;

    // Value 32·row + lane of the block; absent ones are +0.
    float value[ROWS];
    u32 any_bits = 0;
    #pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        u32 i = 32 * row + lane;
        value[row] = i < present ? Element<KIND>::widen(block[i]) : 0.0f;
        any_bits |= __float_as_uint(value[row]);
    }
    const float prescale = power_f32(-scale.exponent);
    float norm = 0.0f;
    #pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        float scaled = __fmul_rn(value[row], prescale);
        norm = __fadd_rn(norm, __fmul_rn(scaled, scaled));
    }
    norm = fold(norm);
    const bool is_zero = norm == 0.0f && !__any_sync(ALL, any_bits != 0);
    if (lane == 0) nonzero[warp] = !is_zero && present > 0;
    __syncthreads();

    u32 nonzero_blocks = __ballot_sync(ALL, lane < SEGMENT_BLOCKS && nonzero[lane % SEGMENT_BLOCKS] != 0);
    const u32 groups = (present + GROUP - 1) / GROUP;
    u8 *slot = slots + (u64)blockIdx.x * slot_bytes;
    // Only the last block of a chunk has fewer groups, and nothing follows it.
    u8 *fixed = slot + __popc(nonzero_blocks & (1u << warp) - 1) * GROUPS * shape.fixed_bytes();

    if (is_zero) {
        if (lane == 0) {
            record.codes[warp] = ZERO_BLOCK;
            record.squared_error[warp] = record.squared_norm[warp] = record.max_error[warp] = 0.0;
        }
    } else {
        float mean_square = present == BLOCK ? __fmul_rn(norm, 1.0f / BLOCK)
                                             : __double2float_rn(__ddiv_rn((double)norm, (double)present));
        // The largest value lies below 2, and so does every root mean square: level 8 is code 0.
        int above = 8 - level(mean_square);
        u32 code = above < 0 ? 0 : above > 254 ? 254 : above;
        float step = block_step(scale.unit, code);
        float inverse = __fdiv_rn(1.0f, step);
        // Beyond its classes, or beyond what is rounded exactly below, a value is the processor's business.
        float limit = (float)umin(((MAX_CLASS + shape.wide) << shape.low_bits) - 1, 4194303);

        u32 magnitude[ROWS], signs = 0;
        float largest = 0.0f, max_error = 0.0f, squares = 0.0f;
        double wide_max = 0.0, wide_squares = 0.0, wide_norm = 0.0;
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
            u32 part = umin(magnitude[row] >> shape.low_bits, MAX_CLASS + 2);
            high[warp][row][lane % 8 * 4 + lane / 8] = (u8)(0x80 | part);
        }
        if (__any_sync(ALL, !(largest < limit + 0.5f)) && lane == 0) atomicOr(&refused, 1);
        if (KIND == F32) {
            squares = fold(squares);
            max_error = fold_max(max_error);
            if (lane == 0) {
                double unscale = power_f64(scale.exponent);
                record.max_error[warp] = max_error;
                record.squared_error[warp] = __dmul_rn(__dmul_rn(squares, step), step);
                record.squared_norm[warp] = __dmul_rn(__dmul_rn(norm, unscale), unscale);
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
        if (lane == 0) record.codes[warp] = (u8)code;

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
        if (first < size.elements && nonzero[of_block]) {
            BitWriter writer(group_words + threadIdx.x);
            u64 passed = variable_part((const u32 *)high[of_block][2 * group], shape, writer);
            bits = writer.finish();
            if (writer.overflowed()) atomicOr(&refused, 1);
            u32 before = __popc(nonzero_blocks & (1u << of_block) - 1);
            u8 *end = slot + (before * GROUPS + group + 1) * shape.fixed_bytes();
            *(u64 *)(end - 8) = passed;
        }
        group_bits[threadIdx.x] = bits;
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
            u32 stored = __popc(nonzero_blocks) * GROUPS;
            // The last block of the chunk, if it is short.
            u32 tail = size.elements % BLOCK;
            bool short_block = tail != 0 && segment + 1 == size.segments && (nonzero_blocks >> present_blocks - 1 & 1);
            if (short_block) stored -= GROUPS - (tail + GROUP - 1) / GROUP;
            record.fixed_bytes = stored * shape.fixed_bytes();
            record.variable_bytes = (sum + 7) / 8;
            bool too_long = sum > 8 * VARIABLE_BYTES;
            record.refused = refused | too_long;
            if (too_long) atomicOr(&refused, 1);
        }
    }
    __syncthreads();
    if (refused) return;
    if (threadIdx.x < SEGMENT_GROUPS) {
        u32 at = group_bits[threadIdx.x];
        for (u32 i = 0; 32 * i < bits; i++, at += 32) {
            u32 word = group_words[i * SEGMENT_GROUPS + threadIdx.x];
            atomicOr(&variable[at / 32], word << at % 32);
            u32 spilled = at % 32 == 0 ? 0 : word >> 32 - at % 32;
            if (spilled != 0) atomicOr(&variable[at / 32 + 1], spilled);
        }
    }
    __syncthreads();
    u32 *variable_slot = (u32 *)(slot + SEGMENT_GROUPS * shape.fixed_bytes());
    for (u32 i = threadIdx.x; 4 * i < record.variable_bytes; i += ENCODE_THREADS) variable_slot[i] = variable[i];
}

// Adds in the order of the blocks, as the processor does: one warp, all lanes the same.
__device__ inline void total(u64 elements, const SegmentRecord *records, ChunkRecord *chunks) {
    const u32 lane = threadIdx.x;
    const ChunkSize size(elements, blockIdx.x);
    double squared_error = 0.0, squared_norm = 0.0, max_error = 0.0;
    u32 bytes = HEADER_BYTES + size.blocks + 2 * size.segments;
    u32 refused = 0;
    for (u32 segment = 0; segment < size.segments; segment++) {
        const SegmentRecord &record = records[blockIdx.x * CHUNK_SEGMENTS + segment];
        if (record.refused) {
            refused = 1;
            break;
        }
        u32 blocks = umin(SEGMENT_BLOCKS, size.blocks - segment * SEGMENT_BLOCKS);
        bool mine = lane < blocks;
        double error = mine ? record.squared_error[lane] : 0.0;
        double norm = mine ? record.squared_norm[lane] : 0.0;
        double largest = mine ? record.max_error[lane] : 0.0;
        for (u32 block = 0; block < blocks; block++) {
            squared_error = __dadd_rn(squared_error, __shfl_sync(ALL, error, block));
            squared_norm = __dadd_rn(squared_norm, __shfl_sync(ALL, norm, block));
            max_error = fmax(max_error, __shfl_sync(ALL, largest, block));
        }
        bytes += record.fixed_bytes + record.variable_bytes;
    }
    if (lane == 0) {
        ChunkRecord &chunk = chunks[blockIdx.x];
        chunk.payload_bytes = refused ? 0 : bytes;
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

// The sum of one number of each thread of a block, for all of them. `shared` has room for one number of each warp.
__device__ inline u32 sum_of_block(u32 mine, u32 *shared) {
    for (int apart = 16; apart > 0; apart >>= 1) mine += __shfl_xor_sync(ALL, mine, apart);
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
    __syncthreads();
    u32 sum = 0;
    for (u32 i = 0; i < blockDim.x / 32; i++) sum += shared[i];
    return sum;
}

__device__ inline void gather(u64 elements, const u32 *largest_bits, double fraction, Shape shape, const u8 *slots,
                              u32 slot_bytes, const SegmentRecord *records, const ChunkRecord *chunks, u8 *packed) {
    __shared__ u32 partial[GATHER_THREADS / 32];
    const u32 chunk = blockIdx.x / CHUNK_SEGMENTS, segment = blockIdx.x % CHUNK_SEGMENTS;
    const ChunkSize size(elements, chunk);
    const u32 payload_bytes = chunks[chunk].payload_bytes;
    if (segment >= size.segments || payload_bytes == 0) return;
    u32 chunks_before = 0;
    for (u32 i = threadIdx.x; i < chunk; i += GATHER_THREADS) {
        u32 bytes = chunks[i].payload_bytes;
        chunks_before += bytes == 0 ? 0 : CHUNK_HEADER_BYTES + bytes;
    }
    u8 *frame = packed + sum_of_block(chunks_before, partial);

    const SegmentRecord *of_chunk = records + chunk * CHUNK_SEGMENTS;
    u32 all_fixed = 0, fixed_before = 0, variable_before = 0;
    for (u32 i = 0; i < size.segments; i++) {
        all_fixed += of_chunk[i].fixed_bytes;
        if (i < segment) {
            fixed_before += of_chunk[i].fixed_bytes;
            variable_before += of_chunk[i].variable_bytes;
        }
    }
    u8 *payload = frame + CHUNK_HEADER_BYTES;
    u8 *codes = payload + HEADER_BYTES, *lengths = codes + size.blocks;
    u8 *fixed = lengths + 2 * size.segments, *variable = fixed + all_fixed;
    const SegmentRecord &record = of_chunk[segment];
    if (threadIdx.x < umin(SEGMENT_BLOCKS, size.blocks - segment * SEGMENT_BLOCKS))
        codes[segment * SEGMENT_BLOCKS + threadIdx.x] = record.codes[threadIdx.x];
    if (threadIdx.x < 2) lengths[2 * segment + threadIdx.x] = (u8)(record.variable_bytes >> 8 * threadIdx.x);
    if (segment == 0) {
        u64 unit = (u64)__double_as_longlong((double)Scale(largest_bits[chunk], fraction).unit);
        u32 i = threadIdx.x;
        if (i < 4) frame[i] = i == 0 ? FAMILY_GRAIN : 0;
        else if (i < 8) frame[i] = (u8)(payload_bytes >> 8 * (i - 4));
        // Mode 0, the shape, two zeros, no exceptions, the unit.
        else if (i < 16) frame[i] = i == 9 ? (u8)shape.code() : 0;
        else if (i < 24) frame[i] = (u8)(unit >> 8 * (i - 16));
    }
    const u8 *slot = slots + (u64)blockIdx.x * slot_bytes;
    copy(fixed + fixed_before, slot, record.fixed_bytes);
    copy(variable + variable_before, slot + SEGMENT_GROUPS * shape.fixed_bytes(), record.variable_bytes);
}
