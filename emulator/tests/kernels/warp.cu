// Prefix sums, ballots and votes within a warp, and a block-wide scan through shared memory.

extern "C" __global__ void block_prefix_sums(const unsigned *in, unsigned *out, unsigned *total, unsigned n) {
    __shared__ unsigned sums[32];
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    unsigned value = i < n ? in[i] : 0;
    for (unsigned d = 1; d < 32; d <<= 1) {
        const unsigned below = __shfl_up_sync(0xffffffffu, value, d);
        if (lane >= d) value += below;
    }
    if (lane == 31) sums[warp] = value;
    __syncthreads();
    unsigned before = 0;
    for (unsigned w = 0; w < warp; ++w) before += sums[w];
    if (i < n) out[i] = before + value;
    if (threadIdx.x == blockDim.x - 1) atomicAdd(total, before + value);
}

// Positions of the set flags of each warp, in order.
extern "C" __global__ void compact(const unsigned char *flags, unsigned *positions, unsigned *counts) {
    const unsigned lane = threadIdx.x & 31;
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned mask = __ballot_sync(0xffffffffu, flags[i] != 0);
    if (flags[i]) positions[(i & ~31u) + __popc(mask & ((1u << lane) - 1))] = i;
    if (lane == 0) counts[i >> 5] = __popc(mask);
}

extern "C" __global__ void butterflies(const float *in, float *out, int *votes) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    float value = in[i];
    for (int d = 16; d > 0; d >>= 1) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, d));
    out[i] = value;
    const float next = __shfl_down_sync(0xffffffffu, in[i], 1, 8);
    const float first = __shfl_sync(0xffffffffu, in[i], 0, 16);
    votes[i] = (__any_sync(0xffffffffu, next > first) ? 1 : 0) | (__all_sync(0xffffffffu, next >= 0.0f) ? 2 : 0);
    unsigned twins = __match_any_sync(0xffffffffu, __float_as_uint(in[i]));
    votes[i] |= __popc(twins) << 8;
}

// Half the warp works while the other half waits; both meet again.
extern "C" __global__ void half_warps(unsigned *out) {
    const unsigned lane = threadIdx.x & 31;
    unsigned value = 0;
    if (lane < 16) value = __ballot_sync(0x0000ffffu, lane & 1);
    else value = __ballot_sync(0xffff0000u, lane & 2);
    __syncwarp();
    out[threadIdx.x] = value + __shfl_sync(0xffffffffu, value, 31 - lane) + (__activemask() != 0);
}
