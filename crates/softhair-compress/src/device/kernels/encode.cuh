// Grain compression in four launches, each over a window of chunks of one tensor:
//   survey  a block of threads for each chunk: its largest magnitude
//   encode  a block of threads for each segment, a warp for two blocks of values: fixed and variable part into the segment's slot
//   total   a warp for each chunk: its length and its errors, added in the order in which the processor adds them
//   gather  a block of threads for each segment: from its slot to where it belongs in the frame's payload
#pragma once
#include "grain.cuh"

// A warp takes two blocks of values.
constexpr u32 ENCODE_THREADS = 32 * SEGMENT_BLOCKS / 2;
constexpr u32 SURVEY_THREADS = 512;
constexpr u32 GATHER_THREADS = 64;
// Bytes of a segment's variable part that a slot has room for: six bits a value, where less than five can occur.
constexpr u32 VARIABLE_BYTES = 3072;
static_assert(VARIABLE_BYTES <= 16 * ENCODE_THREADS, "one access of each thread clears it, and one copies it");

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
    double max_error;
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
    u32 largest = 0;
    // Magnitudes are ordered like their bits, in every format.
    if (size.elements == CHUNK && (u64)chunk % 16 == 0) {
        const uint4 *from = (const uint4 *)chunk + threadIdx.x;
        // Of the upper half of a word, where that is a value: what lies below it decides nothing.
        u32 upper = 0;
        #pragma unroll 8
        for (u32 i = 0; i < CHUNK * sizeof(Bits) / 16 / SURVEY_THREADS; i++) {
            const uint4 four = from[i * SURVEY_THREADS];
            const u32 word[4] = {four.x, four.y, four.z, four.w};
            #pragma unroll
            for (u32 j = 0; j < 4; j++) {
                upper = max(upper, word[j] & 0x7fffffffu);
                if (KIND != F32) largest = max(largest, word[j] & 0x7fffu);
            }
        }
        largest = KIND == F32 ? upper : max(largest, upper >> 16);
    } else {
        const u32 magnitude = KIND == F32 ? 0x7fffffffu : 0x7fffu;
        #pragma unroll 1
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

// Bits of the high parts of a group, a mask for each: planes 0 to 3, and for a group with high parts from 16 on three more.
struct HighBits {
    Bits64 plane[7];
    bool large;

    // The values whose high part is at least this. From the lowest bit up: a higher bit decides, an equal one leaves it as it is.
    __device__ Bits64 at_least(u32 threshold) const {
        Bits64 reached = {ALL, ALL};
        #pragma unroll
        for (u32 i = 0; i < 4; i++) decide(reached, i, threshold);
        if (large) {
            #pragma unroll
            for (u32 i = 4; i < 7; i++) decide(reached, i, threshold);
        } else if (threshold >= 16) {
            reached.low = reached.up = 0;
        }
        return reached;
    }
    __device__ void decide(Bits64 &reached, u32 i, u32 threshold) const {
        u32 unset = (threshold >> i & 1) - 1;
        reached.low = majority(plane[i].low, reached.low, unset);
        reached.up = majority(plane[i].up, reached.up, unset);
    }
    // The high parts of the values of a mask, added.
    __device__ u32 sum(Bits64 mask) const {
        u32 total = 0;
        #pragma unroll
        for (u32 i = 0; i < 4; i++) total += ones(plane[i] & mask) << i;
        if (large) {
            #pragma unroll
            for (u32 i = 4; i < 7; i++) total += ones(plane[i] & mask) << i;
        }
        return total;
    }
};

// The upper nibbles of 32 bytes as four masks: byte r of word l is of value 8r + l.
__device__ inline void upper_planes(const u32 *word, u32 *plane) {
    #pragma unroll
    for (u32 l = 0; l < 4; l++) plane[l] = merge(0x0f0f0f0fu, word[l] >> 4, word[l + 4]);
    // Now bit 4·(l / 4) + i of byte r of word l % 4 is bit i of value 8r + l.
    transpose_nibbles(plane);
}

// Bits in a row into words that were zero, from any bit on. Others may write the bits before and behind them.
struct BitWriter {
    u32 *word;
    u32 filled;
    u32 pending;

    __device__ BitWriter(u32 *words, u32 at) : word(words + at / 32), filled(at % 32), pending(0) {}

    // `bits` has nothing above its lowest `many`, of up to 32.
    __device__ void put(u32 bits, u32 many) {
        pending |= bits << filled;
        u32 over = __funnelshift_l(bits, 0, filled);
        filled += many;
        if (filled >= 32) {
            atomicOr(word, pending);
            word++;
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
    __device__ void finish() {
        if (filled > 0) atomicOr(word, pending);
    }
};

// What the variable part of a group is made of.
struct Classes {
    // Values of class 1 and above.
    Bits64 first;
    // Values above the wide classes.
    Bits64 narrow;
    // Bits of the variable part.
    u32 bits;

    __device__ Classes() {}
    __device__ Classes(const HighBits &high, Shape shape) {
        first = high.at_least(shape.threshold(1));
        narrow = high.at_least(shape.threshold(shape.wide));
        // A bit for each value and each class up to its own; `high - wide` is the class of a narrow one.
        bits = high.sum(narrow) - shape.wide * ones(narrow) + ones(first) - ones(first & narrow);
        if (shape.wide > 0) bits += GROUP - ones(narrow);
    }
};

__device__ inline void variable_part(const HighBits &high, const Classes &classes, Shape shape, BitWriter writer) {
    Bits64 passed = classes.first;
    for (u32 c = 2; (passed.low | passed.up) != 0; c++) {
        Bits64 next = high.at_least(shape.threshold(c));
        writer.put(gather_few(next, passed), passed);
        passed = next;
    }
    if (shape.wide > 0) {
        Bits64 wide = {~classes.narrow.low, ~classes.narrow.up};
        Bits64 odds = {high.plane[0].low & wide.low, high.plane[0].up & wide.up};
        writer.put(gather_most(odds, wide), wide);
    }
    writer.finish();
}

// A segment on its way, in shared memory.
struct EncodeShared {
    // Of each value the lowest four bits of its high part above those of its low part, byte 8l + r of a group for value 8r + l;
    // groups lie so far apart that threads which each read one do not wait for each other.
    u8 nibbles[SEGMENT_GROUPS][GROUP + 16];
    // In the upper half of each byte the next bits of the high part, where `large` says so.
    u8 more[SEGMENT_GROUPS][GROUP + 16];
    u32 variable[VARIABLE_BYTES / 4];
    u32 signs[SEGMENT_BLOCKS][ROWS];
    double max_error[ENCODE_THREADS / 32];
    float norm[SEGMENT_BLOCKS];
    float step[SEGMENT_BLOCKS];
    float inverse[SEGMENT_BLOCKS];
    float squares[SEGMENT_BLOCKS];
    u32 any_bits[SEGMENT_BLOCKS];
    u32 large[SEGMENT_BLOCKS];
    // Bits of the variable parts of 32 groups each.
    u32 variable_bits[SEGMENT_GROUPS / 32];
    // Blocks that are not all +0.
    u32 stored;
    u32 refused;
};

// The step of each block, in one warp: lane by lane what would else be done by whole warps.
__device__ inline void choose_steps(const ChunkSize &size, u32 segment, const ChunkScale &scale, EncodeShared &shared,
                                    SegmentRecord &record) {
    const u32 lane = threadIdx.x, start = segment * SEGMENT + lane * BLOCK;
    bool stored = false;
    if (lane < SEGMENT_BLOCKS) {
        float norm = shared.norm[lane];
        stored = shared.any_bits[lane] != 0;
        u32 present = start < size.elements ? umin(BLOCK, size.elements - start) : BLOCK;
        float mean_square = present == BLOCK ? __fmul_rn(norm, 1.0f / BLOCK)
                                             : __double2float_rn(__ddiv_rn((double)norm, (double)present));
        // The largest value lies below 2, and so does every root mean square: level 8 is code 0.
        int code = min(max(8 - level(mean_square), 0), ZERO_BLOCK - 1);
        float step = block_step(scale.unit, code);
        shared.step[lane] = step;
        shared.inverse[lane] = __fdiv_rn(1.0f, step);
        record.codes[lane] = stored ? (u8)code : ZERO_BLOCK;
    }
    u32 all_stored = __ballot_sync(ALL, stored);
    if (lane == 0) shared.stored = all_stored;
}

// Errors of the values of one lane in one block. Those of halves are counted in f64, as on the processor.
struct Errors {
    float squares;
    double wide_squares, wide_norm;
};

// The largest error of one lane, so far.
struct Largest {
    float error;
    double wide_error;
};

// Adding this rounds a number below 2^22 to a whole one, ties to even, and leaves it in the low bits.
constexpr float ROUNDER = 12582912.0f;
constexpr u32 ROUNDER_BITS = 0x4b400000u;

// Nibbles of low bits after the first, and low bits that do not fill a nibble, of one block with so many groups, by a warp.
__device__ inline void more_low_bits(const float *value, float inverse, Shape shape, u32 groups, u8 *fixed) {
    const u32 lane = threadIdx.x % 32;
    u32 magnitude[ROWS];
    #pragma unroll
    for (u32 row = 0; row < ROWS; row++)
        magnitude[row] = __float_as_uint(__fadd_rn(__fmul_rn(fabsf(value[row]), inverse), ROUNDER));
    u8 *low_part = fixed + 8;
    // Word l of a group has value 8r + l in nibble r, so lanes of equal l join.
    #pragma unroll 1
    for (u32 layer = 1; layer < shape.nibble_layers(); layer++) {
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
    #pragma unroll 1
    for (u32 plane = 0; plane < shape.low_planes(); plane++) {
        u32 bit = 4 * shape.nibble_layers() + plane, mask = 0;
        #pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            u32 ballot = __ballot_sync(ALL, magnitude[row] >> bit & 1);
            if (lane == row) mask = ballot;
        }
        if (lane < 2 * groups) *(u32 *)(low_part + lane / 2 * shape.fixed_bytes() + 8 * plane + lane % 2 * 4) = mask;
    }
}

// The magnitudes of one block, by a warp: nibbles and signs into shared memory.
template <int KIND>
__device__ inline Errors quantise(const float *value, u32 block, Shape shape, Largest &largest, EncodeShared &shared) {
    const u32 lane = threadIdx.x % 32;
    const float step = shared.step[block], inverse = shared.inverse[block];
    // Row 2g + h has the half h of group g.
    const u32 of_lane = lane % 8 * 8 + lane / 8;
    u8 *nibbles = &shared.nibbles[block * GROUPS][of_lane];
    Errors errors = {0.0f, 0.0, 0.0};
    u32 magnitude[ROWS], any = 0;
    #pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        float steps = __fmul_rn(fabsf(value[row]), inverse);
        float shifted = __fadd_rn(steps, ROUNDER);
        float restored = __fmul_rn(__fsub_rn(shifted, ROUNDER), step);
        magnitude[row] = __float_as_uint(shifted);
        any |= magnitude[row];
        if (KIND == F32) {
            float error = fabsf(__fsub_rn(fabsf(value[row]), restored));
            float in_steps = __fmul_rn(error, inverse);
            errors.squares = __fadd_rn(errors.squares, __fmul_rn(in_steps, in_steps));
            largest.error = fmaxf(largest.error, error);
        } else {
            // What counts is the error after rounding to the type of the data.
            double narrowed = Element<KIND>::widen(Element<KIND>::narrow(restored));
            double original = fabsf(value[row]);
            double error = fabs(__dsub_rn(original, narrowed));
            errors.wide_squares = __dadd_rn(errors.wide_squares, __dmul_rn(error, error));
            errors.wide_norm = __dadd_rn(errors.wide_norm, __dmul_rn(original, original));
            largest.wide_error = fmax(largest.wide_error, error);
        }
    }
    u32 negative[ROWS];
    #pragma unroll
    for (u32 row = 0; row < ROWS; row++) negative[row] = __ballot_sync(ALL, (int)__float_as_uint(value[row]) < 0);
    if (lane == 0) {
        uint4 *signs = (uint4 *)shared.signs[block];
        signs[0] = make_uint4(negative[0], negative[1], negative[2], negative[3]);
        signs[1] = make_uint4(negative[4], negative[5], negative[6], negative[7]);
    }
    if (shape.low_bits == 4) {
        #pragma unroll
        for (u32 row = 0; row < ROWS; row++) nibbles[row / 2 * (GROUP + 16) + row % 2 * 4] = (u8)magnitude[row];
    } else {
        #pragma unroll
        for (u32 row = 0; row < ROWS; row++)
            nibbles[row / 2 * (GROUP + 16) + row % 2 * 4] = (u8)(magnitude[row] >> shape.low_bits << 4 | magnitude[row] & 15);
    }
    // Without the bits of the rounder, or with more than a magnitude may have.
    bool large = __any_sync(ALL, (any ^ ROUNDER_BITS) >> shape.low_bits >= 16);
    if (large) {
        // Beyond its classes, or beyond what is rounded exactly above, a value is the processor's business.
        const u32 most = ROUNDER_BITS + umin(((MAX_CLASS + shape.wide) << shape.low_bits) - 1, 4194303);
        u32 largest_magnitude = 0;
        u8 *more = &shared.more[block * GROUPS][of_lane];
        #pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            largest_magnitude = max(largest_magnitude, magnitude[row]);
            more[row / 2 * (GROUP + 16) + row % 2 * 4] = (u8)(magnitude[row] >> shape.low_bits & 0xf0);
        }
        if (largest_magnitude > most) atomicOr(&shared.refused, 1);
    }
    if (lane == 0) shared.large[block] = large;
    return errors;
}

// The first nibble of the low bits of each value, from shared memory: word l of a group has value 8r + l in nibble r.
__device__ inline u32 low_nibbles(const u8 *of_word) {
    u32 near = ((const u32 *)of_word)[0], far = ((const u32 *)of_word)[1];
    near = merge(0x000f000fu, near, near >> 4);
    far = merge(0x000f000fu, far, far >> 4);
    return __byte_perm(near, far, 0x6420);
}

// The high parts of a group, from shared memory.
__device__ inline HighBits high_bits(const EncodeShared &shared, u32 group) {
    HighBits high;
    high.large = shared.large[group / GROUPS] != 0;
    u32 near[8], far[8], plane[4];
    #pragma unroll
    for (u32 more = 0; more < 2; more++) {
        if (more == 0 || high.large) {
            const uint4 *from = (const uint4 *)(more == 0 ? shared.nibbles : shared.more)[group];
            #pragma unroll
            for (u32 i = 0; i < GROUP / 16; i++) {
                uint4 four = from[i];
                near[2 * i] = four.x;
                far[2 * i] = four.y;
                near[2 * i + 1] = four.z;
                far[2 * i + 1] = four.w;
            }
            upper_planes(near, plane);
            #pragma unroll
            for (u32 i = 0; i < 4 - more; i++) high.plane[4 * more + i].low = plane[i];
            upper_planes(far, plane);
            #pragma unroll
            for (u32 i = 0; i < 4 - more; i++) high.plane[4 * more + i].up = plane[i];
        }
    }
    return high;
}

// Where the fixed part of a group of a block lies in its segment's slot: only the last block of a chunk has fewer than all groups.
__device__ inline u32 fixed_at(u32 stored, u32 block, u32 group, Shape shape) {
    return (__popc(stored & (1u << block) - 1) * GROUPS + group) * shape.fixed_bytes();
}

// How many groups of a block are stored.
__device__ inline u32 stored_groups(u32 stored, u32 block, u32 segment, const ChunkSize &size) {
    u32 left = size.elements - segment * SEGMENT - block * BLOCK;
    return stored >> block & 1 ? umin(GROUPS, (left + GROUP - 1) / GROUP) : 0;
}

// From the lanes of a warp and its two blocks to one number each.
template <int KIND>
__device__ inline void write_errors(const Errors *errors, const Largest &largest, EncodeShared &shared, SegmentRecord &record) {
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, block = 2 * warp + lane / 16;
    double error;
    if (KIND == F32) {
        float squares = fold_pair(errors[0].squares, errors[1].squares);
        if (lane % 16 == 0) shared.squares[block] = squares;
        error = fold_max(largest.error);
    } else {
        double squares = fold_pair(errors[0].wide_squares, errors[1].wide_squares);
        double norm = fold_pair(errors[0].wide_norm, errors[1].wide_norm);
        if (lane % 16 == 0) {
            record.squared_error[block] = squares;
            record.squared_norm[block] = norm;
        }
        error = fold_max(largest.wide_error);
    }
    if (lane == 0) shared.max_error[warp] = error;
}

// From the warps to the segment's record, by one warp.
template <int KIND>
__device__ inline void finish_errors(const ChunkScale &scale, const EncodeShared &shared, SegmentRecord &record) {
    const u32 lane = threadIdx.x % 32;
    double largest = fold_max(lane < ENCODE_THREADS / 32 ? shared.max_error[lane] : 0.0);
    if (lane == 0) record.max_error = largest;
    if (KIND == F32 && lane < SEGMENT_BLOCKS) {
        double unscale = power_f64(scale.exponent), step = shared.step[lane];
        record.squared_error[lane] = __dmul_rn(__dmul_rn(shared.squares[lane], step), step);
        record.squared_norm[lane] = __dmul_rn(__dmul_rn(shared.norm[lane], unscale), unscale);
    }
}

template <int KIND>
__device__ void encode(const typename Element<KIND>::Bits *values, u32 elements, const ChunkScale *scales, Shape shape,
                       u8 *slots, u32 slot_bytes, SegmentRecord *records) {
    __shared__ __align__(16) EncodeShared shared;

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
    if (threadIdx.x == 0) shared.refused = 0;
    if (threadIdx.x < VARIABLE_BYTES / 16) ((uint4 *)shared.variable)[threadIdx.x] = make_uint4(0, 0, 0, 0);

    // Value 32·row + lane of the warp's first block, then of its second; absent ones are +0.
    const u32 start = segment * SEGMENT + warp * 2 * BLOCK;
    const typename Element<KIND>::Bits *from = values + ((u64)chunk * CHUNK + start + lane);
    float value[2 * ROWS];
    if (start + 2 * BLOCK <= size.elements) {
        #pragma unroll
        for (u32 row = 0; row < 2 * ROWS; row++) value[row] = Element<KIND>::widen(from[32 * row]);
    } else {
        #pragma unroll
        for (u32 row = 0; row < 2 * ROWS; row++)
            value[row] = start + 32 * row + lane < size.elements ? Element<KIND>::widen(from[32 * row]) : 0.0f;
    }
    float norms[2] = {0.0f, 0.0f};
    #pragma unroll
    for (u32 row = 0; row < 2 * ROWS; row++) {
        float scaled = __fmul_rn(value[row], scale.prescale);
        norms[row / ROWS] = __fadd_rn(norms[row / ROWS], __fmul_rn(scaled, scaled));
    }
    float norm = fold_pair(norms[0], norms[1]);
    // No sum of squares may still be small numbers, or -0.
    bool any_bits = norm != 0.0f;
    if (__any_sync(ALL, !any_bits)) {
        u32 bits[2] = {0, 0};
        #pragma unroll
        for (u32 row = 0; row < 2 * ROWS; row++) bits[row / ROWS] |= __float_as_uint(value[row]);
        bool first = __any_sync(ALL, bits[0] != 0), second = __any_sync(ALL, bits[1] != 0);
        any_bits = lane < 16 ? first : second;
    }
    if (lane % 16 == 0) {
        shared.norm[2 * warp + lane / 16] = norm;
        shared.any_bits[2 * warp + lane / 16] = any_bits;
    }
    __syncthreads();
    if (warp == 0) choose_steps(size, segment, scale, shared, record);
    __syncthreads();

    u8 *slot = slots + (u64)blockIdx.x * slot_bytes;
    Errors errors[2];
    Largest largest = {0.0f, 0.0};
    #pragma unroll
    for (u32 i = 0; i < 2; i++) {
        errors[i] = quantise<KIND>(value + i * ROWS, 2 * warp + i, shape, largest, shared);
    }
    write_errors<KIND>(errors, largest, shared, record);
    __syncwarp();

    const u32 stored = shared.stored;
    #pragma unroll
    for (u32 i = 0; i < 2; i++) {
        u32 block = 2 * warp + i, group = lane / 8, l = lane % 8;
        u32 groups = stored_groups(stored, block, segment, size);
        // Eight lanes for each group.
        if (shape.nibble_layers() > 0 && group < groups) {
            u32 *word = (u32 *)(slot + fixed_at(stored, block, group, shape) + 8) + l;
            *word = low_nibbles(&shared.nibbles[block * GROUPS + group][8 * l]);
        }
    }
    if (shape.low_bits != 4) {
        #pragma unroll 1
        for (u32 i = 0; i < 2; i++) {
            u32 block = 2 * warp + i, groups = stored_groups(stored, block, segment, size);
            float of_block[ROWS];
            #pragma unroll
            for (u32 row = 0; row < ROWS; row++) of_block[row] = i == 0 ? value[row] : value[ROWS + row];
            if (groups > 0)
                more_low_bits(of_block, shared.inverse[block], shape, groups, slot + fixed_at(stored, block, 0, shape));
        }
    }
    __syncthreads();

    // One thread for each group.
    HighBits high;
    Classes classes;
    u32 bits = 0, bits_before = 0;
    if (warp < SEGMENT_GROUPS / 32) {
        u32 block = threadIdx.x / GROUPS, group = threadIdx.x % GROUPS;
        if (group < stored_groups(stored, block, segment, size)) {
            high = high_bits(shared, threadIdx.x);
            classes = Classes(high, shape);
            bits = classes.bits;
            uint2 *fixed = (uint2 *)(slot + fixed_at(stored, block, group, shape));
            const u32 *signs = &shared.signs[block][2 * group];
            fixed[0] = make_uint2(signs[0], signs[1]);
            fixed[shape.fixed_bytes() / 8 - 1] = make_uint2(classes.first.low, classes.first.up);
        }
        u32 sum = bits;
        for (u32 apart = 1; apart < 32; apart <<= 1) {
            u32 before = __shfl_up_sync(ALL, sum, apart);
            if (lane >= apart) sum += before;
        }
        bits_before = sum - bits;
        if (lane == 31) shared.variable_bits[warp] = sum;
    } else if (warp == SEGMENT_GROUPS / 32) {
        // Meanwhile another warp writes down the errors.
        finish_errors<KIND>(scale, shared, record);
    }
    __syncthreads();
    const u32 all_bits = shared.variable_bits[0] + shared.variable_bits[1], variable_bytes = (all_bits + 7) / 8;
    const bool refused = shared.refused || variable_bytes > VARIABLE_BYTES;
    if (threadIdx.x == ENCODE_THREADS - 1) {
        u32 last = umin(SEGMENT_BLOCKS, size.blocks - segment * SEGMENT_BLOCKS) - 1;
        record.fixed_bytes = fixed_at(stored, last, stored_groups(stored, last, segment, size), shape);
        record.variable_bytes = variable_bytes;
        record.refused = refused;
    }
    if (refused) return;
    if (bits > 0) variable_part(high, classes, shape, BitWriter(shared.variable, warp * shared.variable_bits[0] + bits_before));
    __syncthreads();
    uint4 *variable_slot = (uint4 *)(slot + SEGMENT_GROUPS * shape.fixed_bytes());
    if (16 * threadIdx.x < variable_bytes) variable_slot[threadIdx.x] = ((const uint4 *)shared.variable)[threadIdx.x];
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
        for (u32 block = 0; block < blocks; block++) {
            squared_error = __dadd_rn(squared_error, __shfl_sync(ALL, error, block));
            squared_norm = __dadd_rn(squared_norm, __shfl_sync(ALL, norm, block));
        }
        max_error = fmax(max_error, record.max_error);
    }
    if (lane == 0) {
        ChunkRecord &chunk = chunks[blockIdx.x];
        chunk.payload_bytes = refused ? 0 : fixed_start + all_fixed + all_variable;
        chunk.unused = 0;
        chunk.max_error = max_error;
        chunk.squared_error = squared_error;
        chunk.squared_norm = squared_norm;
    }
}

// Copies bytes to any address, 16 at a time; from one that is a multiple of four and may be read up to the next multiple.
__device__ inline void copy(u8 *to, const u8 *from, u32 bytes) {
    u32 head = umin(bytes, -(u32)(u64)to & 15);
    if (threadIdx.x < head) to[threadIdx.x] = from[threadIdx.x];
    u32 shift = head % 4 * 8, fours = (bytes - head) / 16;
    // Without a shift the fifth word is not needed.
    u32 fifth = shift == 0 ? 3 : 4;
    const u32 *source = (const u32 *)from + head / 4;
    uint4 *target = (uint4 *)(to + head);
    #pragma unroll 1
    for (u32 i = threadIdx.x; i < fours; i += GATHER_THREADS) {
        const u32 *word = source + 4 * i;
        u32 second = word[1], third = word[2], fourth = word[3];
        target[i] = make_uint4(__funnelshift_r(word[0], second, shift), __funnelshift_r(second, third, shift),
                               __funnelshift_r(third, fourth, shift), __funnelshift_r(fourth, word[fifth], shift));
    }
    u32 done = head + 16 * fours;
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
        #pragma unroll 1
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
