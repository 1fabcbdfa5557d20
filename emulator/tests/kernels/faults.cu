// One mistake a kernel; each must be found.

extern "C" __global__ void out_of_bounds(unsigned *out) { out[threadIdx.x * 1000000000ull] = 1; }

extern "C" __global__ void misaligned(unsigned char *out) { *(unsigned *)(out + threadIdx.x) = 1; }

extern "C" __global__ void read_of_unwritten(const unsigned *in, unsigned *out) { out[threadIdx.x] = in[threadIdx.x]; }

extern "C" __global__ void read_of_unwritten_shared(unsigned *out) {
    __shared__ unsigned words[64];
    if (threadIdx.x != 5) words[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = words[63 - threadIdx.x];
}

extern "C" __global__ void shared_race(unsigned *out) {
    __shared__ unsigned words[64];
    words[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = words[63 - threadIdx.x];
}

extern "C" __global__ void barrier_not_reached(unsigned *out) {
    if (threadIdx.x >= 32) {
        out[threadIdx.x] = 1;
        return;
    }
    asm volatile("bar.sync 0;" ::: "memory");
    out[threadIdx.x] = 2;
}

extern "C" __global__ void lanes_missing(unsigned *out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
}

extern "C" __global__ void endless(volatile unsigned *out) {
    while (*out == 0) {}
}

extern "C" __global__ void division_by_zero(const unsigned *in, unsigned *out) { out[threadIdx.x] = 7 / in[threadIdx.x]; }

extern "C" __global__ void trapped() { __trap(); }
