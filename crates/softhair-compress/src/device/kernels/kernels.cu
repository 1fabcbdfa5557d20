// All kernels, by the names under which the host launches them. Arguments are 64 bits wide; addresses come as numbers.
#include "blake3.cuh"
#include "decode.cuh"
#include "encode.cuh"

#define FOR_TYPE(name, KIND)                                                                                              \
    extern "C" __global__ void __launch_bounds__(SURVEY_THREADS)                                                          \
        grain_survey_##name(u64 values, u64 elements, u64 fraction, u64 scales) {                                         \
        survey<KIND>((const Element<KIND>::Bits *)values, (u32)elements, __longlong_as_double((long long)fraction),       \
                     (ChunkScale *)scales);                                                                               \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(ENCODE_THREADS, 4)                                                       \
        grain_encode_##name(u64 values, u64 elements, u64 scales, u64 shape, u64 slots, u64 slot_bytes, u64 records) {    \
        encode<KIND>((const Element<KIND>::Bits *)values, (u32)elements, (const ChunkScale *)scales, Shape((u32)shape),   \
                     (u8 *)slots, (u32)slot_bytes, (SegmentRecord *)records);                                             \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(RESTORE_THREADS)                                                         \
        grain_restore_##name(u64 sent, u64 chunks, u64 segments, u64 positions, u64 damaged, u64 values) {                \
        restore<KIND>((const u8 *)sent, (const ChunkPlan *)chunks, (const SegmentPlan *)segments, (const u32 *)positions, \
                      (const u32 *)damaged, (Element<KIND>::Bits *)values);                                               \
    }

FOR_TYPE(f32, F32)
FOR_TYPE(f16, F16)
FOR_TYPE(bf16, BF16)

extern "C" __global__ void __launch_bounds__(32) grain_total(u64 elements, u64 records, u64 chunks) {
    total((u32)elements, (SegmentRecord *)records, (ChunkRecord *)chunks);
}

extern "C" __global__ void __launch_bounds__(GATHER_THREADS)
    grain_gather(u64 elements, u64 scales, u64 shape, u64 slots, u64 slot_bytes, u64 records, u64 chunks, u64 packed) {
    gather((u32)elements, (const ChunkScale *)scales, Shape((u32)shape), (const u8 *)slots, (u32)slot_bytes,
           (const SegmentRecord *)records, (const ChunkRecord *)chunks, (u8 *)packed);
}

extern "C" __global__ void __launch_bounds__(INDEX_THREADS)
    grain_index(u64 sent, u64 chunks, u64 segments, u64 all_segments, u64 positions, u64 damaged) {
    index((const u8 *)sent, (const ChunkPlan *)chunks, (const SegmentPlan *)segments, (u32)all_segments, (u32 *)positions,
          (u32 *)damaged);
}

extern "C" __global__ void __launch_bounds__(DIGEST_THREADS)
    blake3_chunks(u64 bytes, u64 all_bytes, u64 first_chunk, u64 values) {
    chunk_values((const u8 *)bytes, all_bytes, first_chunk, (u32 *)values);
}

extern "C" __global__ void __launch_bounds__(PARENT_THREADS) blake3_parents(u64 values, u64 all_values, u64 above) {
    parents((const u32 *)values, (u32)all_values, (u32 *)above);
}
