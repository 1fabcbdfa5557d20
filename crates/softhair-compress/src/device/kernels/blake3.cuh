// BLAKE3 of memory on the card, so that what a tensor is can be known without carrying it over the bus:
//   chunks   a thread for each chunk of 1,024 bytes: its chaining value
//   parents  a block of threads for each 1,024 chaining values: the chaining value above them
// The host joins what is left, the root among it. Method: the BLAKE3 paper, sections 2.1 to 2.4.
#pragma once
#include "grain.cuh"

constexpr u32 DIGEST_THREADS = 128;
constexpr u32 PARENT_THREADS = 512;
constexpr u32 SUBTREE_CHUNKS = 1024;
constexpr u32 DIGEST_CHUNK_BYTES = 1024;
constexpr u32 CHUNK_START = 1, CHUNK_END = 2, PARENT = 4;

__device__ const u32 IV[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

__device__ inline u32 rotate_right(u32 word, u32 by) { return __funnelshift_r(word, word, by); }

__device__ inline void mix(u32 &a, u32 &b, u32 &c, u32 &d, u32 x, u32 y) {
    a = a + b + x;
    d = rotate_right(d ^ a, 16);
    c = c + d;
    b = rotate_right(b ^ c, 12);
    a = a + b + y;
    d = rotate_right(d ^ a, 8);
    c = c + d;
    b = rotate_right(b ^ c, 7);
}

__device__ inline void compress(u32 value[8], const u32 message[16], u64 counter, u32 bytes, u32 flags) {
    u32 s[16], m[16];
    #pragma unroll
    for (int i = 0; i < 16; i++) m[i] = message[i];
    #pragma unroll
    for (int i = 0; i < 8; i++) s[i] = value[i];
    s[8] = 0x6a09e667;
    s[9] = 0xbb67ae85;
    s[10] = 0x3c6ef372;
    s[11] = 0xa54ff53a;
    s[12] = (u32)counter;
    s[13] = (u32)(counter >> 32);
    s[14] = bytes;
    s[15] = flags;
    #pragma unroll
    for (int round = 0; round < 7; round++) {
        mix(s[0], s[4], s[8], s[12], m[0], m[1]);
        mix(s[1], s[5], s[9], s[13], m[2], m[3]);
        mix(s[2], s[6], s[10], s[14], m[4], m[5]);
        mix(s[3], s[7], s[11], s[15], m[6], m[7]);
        mix(s[0], s[5], s[10], s[15], m[8], m[9]);
        mix(s[1], s[6], s[11], s[12], m[10], m[11]);
        mix(s[2], s[7], s[8], s[13], m[12], m[13]);
        mix(s[3], s[4], s[9], s[14], m[14], m[15]);
        const int order[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
        u32 moved[16];
        #pragma unroll
        for (int i = 0; i < 16; i++) moved[i] = m[order[i]];
        #pragma unroll
        for (int i = 0; i < 16; i++) m[i] = moved[i];
    }
    #pragma unroll
    for (int i = 0; i < 8; i++) value[i] = s[i] ^ s[i + 8];
}

// `bytes` is a multiple of four.
__device__ inline void chunk_values(const u8 *bytes, u64 all_bytes, u64 first_chunk, u32 *values) {
    const u64 which = (u64)blockIdx.x * DIGEST_THREADS + threadIdx.x;
    if (which * DIGEST_CHUNK_BYTES >= all_bytes) return;
    u64 rest = all_bytes - which * DIGEST_CHUNK_BYTES;
    u32 left = rest < DIGEST_CHUNK_BYTES ? (u32)rest : DIGEST_CHUNK_BYTES;
    const u8 *from = bytes + which * DIGEST_CHUNK_BYTES;
    u32 value[8];
    #pragma unroll
    for (int i = 0; i < 8; i++) value[i] = IV[i];
    u32 flags = CHUNK_START;
    while (true) {
        u32 here = umin(left, 64);
        u32 message[16];
        if (here == 64 && ((u64)from & 15) == 0) {
            #pragma unroll
            for (int i = 0; i < 4; i++) {
                uint4 four = ((const uint4 *)from)[i];
                message[4 * i] = four.x;
                message[4 * i + 1] = four.y;
                message[4 * i + 2] = four.z;
                message[4 * i + 3] = four.w;
            }
        } else {
            // What does not fill a word is filled up with zeros.
            u32 whole = here / 4, last = 0;
            for (u32 i = 4 * whole; i < here; i++) last |= (u32)from[i] << 8 * (i % 4);
            #pragma unroll
            for (u32 i = 0; i < 16; i++) message[i] = i < whole ? ((const u32 *)from)[i] : i == whole ? last : 0;
        }
        left -= here;
        if (left == 0) flags |= CHUNK_END;
        compress(value, message, first_chunk + which, here, flags);
        if (left == 0) break;
        flags = 0;
        from += 64;
    }
    uint4 *out = (uint4 *)(values + 8 * which);
    out[0] = make_uint4(value[0], value[1], value[2], value[3]);
    out[1] = make_uint4(value[4], value[5], value[6], value[7]);
}

// Pairs are joined level by level; one that is left over moves up as it is, which is the shape of the tree that BLAKE3 asks for.
__device__ inline void parents(const u32 *values, u32 all_values, u32 *above) {
    // By word, so that neighbours lie in different banks.
    __shared__ u32 shared[8][SUBTREE_CHUNKS];
    const u32 first = blockIdx.x * SUBTREE_CHUNKS;
    u32 count = umin(SUBTREE_CHUNKS, all_values - first);
    for (u32 i = threadIdx.x; i < 8 * count; i += PARENT_THREADS) shared[i % 8][i / 8] = values[8 * (u64)first + i];
    __syncthreads();
    while (count > 1) {
        u32 pairs = count / 2;
        bool joins = threadIdx.x < pairs, carries = threadIdx.x == pairs && count % 2 == 1;
        u32 value[8];
        if (joins) {
            u32 message[16];
            #pragma unroll
            for (int i = 0; i < 8; i++) {
                message[i] = shared[i][2 * threadIdx.x];
                message[8 + i] = shared[i][2 * threadIdx.x + 1];
                value[i] = IV[i];
            }
            compress(value, message, 0, 64, PARENT);
        } else if (carries) {
            #pragma unroll
            for (int i = 0; i < 8; i++) value[i] = shared[i][count - 1];
        }
        __syncthreads();
        if (joins || carries) {
            #pragma unroll
            for (int i = 0; i < 8; i++) shared[i][threadIdx.x] = value[i];
        }
        __syncthreads();
        count = pairs + count % 2;
    }
    if (threadIdx.x < 8) above[8 * blockIdx.x + threadIdx.x] = shared[threadIdx.x][0];
}
