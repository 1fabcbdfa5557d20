// Shared and global atomics of every kind, static shared memory of several types, constants, local arrays.

__constant__ unsigned weights[4] = {1, 10, 100, 1000};
__device__ unsigned long long steps[2] = {7, 9};
__device__ float scale = 0.5f;

extern "C" __global__ void histogram(const unsigned char *bytes, unsigned n, unsigned *bins, unsigned long long *sum) {
    __shared__ unsigned local[256];
    __shared__ unsigned long long shared_sum;
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    if (threadIdx.x == 0) shared_sum = 0;
    __syncthreads();
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        atomicAdd(&local[bytes[i]], 1u);
        atomicAdd(&shared_sum, (unsigned long long)bytes[i] * weights[i & 3] + steps[i & 1]);
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x)
        if (local[i]) atomicAdd(&bins[i], local[i]);
    if (threadIdx.x == 0) atomicAdd(sum, shared_sum);
}

extern "C" __global__ void atomics(unsigned *words, unsigned long long *longs, int *olds) {
    const unsigned i = threadIdx.x;
    atomicOr(&words[0], 1u << (i & 31));
    atomicAnd(&words[1], ~(1u << (i & 31)));
    atomicMin(&words[2], i);
    atomicMax(&words[3], i);
    atomicXor(&words[4], i);
    atomicMax((int *)&words[5], -(int)i);
    atomicMin((int *)&words[6], -(int)i);
    atomicExch(&words[7], 77u);
    olds[i] = (int)atomicCAS(&words[8], 5u, 6u);
    atomicAdd(&longs[0], (unsigned long long)i << 33);
    atomicOr(&longs[1], 1ull << i);
    atomicMax(&longs[2], (unsigned long long)i << 40);
    atomicExch(&longs[3], 1ull << 50);
    atomicCAS(&longs[4], 0ull, 42ull);
    __threadfence();
}

__device__ __noinline__ unsigned collatz(unsigned x, unsigned *longest) {
    unsigned steps = 0;
    while (x != 1) {
        x = (x & 1) ? 3 * x + 1 : x / 2;
        ++steps;
        if (x > *longest) *longest = x;
    }
    return steps;
}

extern "C" __global__ void __launch_bounds__(64, 2) local_arrays(const unsigned *in, unsigned *out, unsigned char shift, short add) {
    unsigned table[16];
    for (int k = 0; k < 16; ++k) table[k] = in[k] >> shift;
    unsigned longest = 0;
    const unsigned i = threadIdx.x;
    unsigned value = collatz(i + 1, &longest);
    for (unsigned k = 0; k < (i & 7); ++k) table[(k * 5 + i) & 15] += longest;
    out[i] = table[i & 15] + value + add + (unsigned)(scale * 8.0f);
}

struct Pair {
    unsigned short low;
    unsigned char tag;
    unsigned long long high;
};

extern "C" __global__ void structs(unsigned short low, unsigned char tag, unsigned long long high, Pair *out) {
    __shared__ __align__(16) Pair all[32];
    all[threadIdx.x].low = low + threadIdx.x;
    all[threadIdx.x].tag = tag;
    all[threadIdx.x].high = high;
    __syncthreads();
    out[threadIdx.x].low = all[31 - threadIdx.x].low;
    out[threadIdx.x].tag = all[31 - threadIdx.x].tag;
    out[threadIdx.x].high = all[31 - threadIdx.x].high;
}

// A table of branches.
extern "C" __global__ void switches(const unsigned *in, unsigned *out) {
    unsigned value = in[threadIdx.x];
    switch (value % 9) {
        case 0: value = __popc(value); break;
        case 1: value = __clz(value); break;
        case 2: value *= in[0]; break;
        case 3: value = value / 3 + in[1]; break;
        case 4: value ^= in[2]; break;
        case 5: value = __brev(value); break;
        case 6: value -= in[3]; break;
        case 7: out[threadIdx.x + blockDim.x] = value; break;
        default: value = ~value;
    }
    out[threadIdx.x] = value;
}
