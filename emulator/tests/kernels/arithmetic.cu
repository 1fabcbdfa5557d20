// Rounding of single and double precision, divisions, conversions, and integer oddities.

__device__ __forceinline__ float from_half(unsigned short bits) {
    float value;
    asm("{ .reg .b16 h; mov.b16 h, %1; cvt.f32.f16 %0, h; }" : "=f"(value) : "h"(bits));
    return value;
}
__device__ __forceinline__ unsigned short to_half(float value) {
    unsigned short bits;
    asm("{ .reg .b16 h; cvt.rn.f16.f32 h, %1; mov.b16 %0, h; }" : "=h"(bits) : "f"(value));
    return bits;
}

extern "C" __global__ void floats(const float *a, const float *b, float *out, unsigned n) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float x = a[i], y = b[i];
    float *o = out + i * 16;
    o[0] = x + y;
    o[1] = x - y;
    o[2] = x * y;
    o[3] = __fdiv_rn(x, y);
    o[4] = __fsqrt_rn(fabsf(x));
    o[5] = -x;
    o[6] = fminf(x, y);
    o[7] = fmaxf(x, y);
    o[8] = rintf(x);
    o[9] = floorf(x);
    o[10] = ceilf(x);
    o[11] = truncf(x);
    o[12] = x * y + 1.0f;
    o[13] = __fmaf_rn(x, y, 1.0f);
    o[14] = from_half(to_half(x));
    o[15] = (x < y && x != 0.0f) || isnan(y) ? 1.0f : copysignf(2.0f, x);
}

extern "C" __global__ void doubles(const double *a, const double *b, double *out, unsigned n) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const double x = a[i], y = b[i];
    double *o = out + i * 12;
    o[0] = x + y;
    o[1] = x - y;
    o[2] = x * y;
    o[3] = x / y;
    o[4] = sqrt(fabs(x));
    o[5] = fmin(x, y);
    o[6] = fmax(x, y);
    o[7] = (double)(float)x;
    o[8] = rint(x);
    o[9] = (double)(long long)x;
    o[10] = fma(x, y, 1.0);
    o[11] = (double)__double2int_rn(y);
}

extern "C" __global__ void conversions(const float *in, int *out, unsigned n) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float x = in[i];
    int *o = out + i * 12;
    o[0] = __float2int_rn(x);
    o[1] = __float2int_rz(x);
    o[2] = (int)__float2uint_rn(x);
    o[3] = (int)__float2uint_rz(x);
    o[4] = (int)(unsigned short)__float2uint_rz(x);
    o[5] = to_half(x);
    o[6] = __float_as_int((float)o[0]);
    o[7] = __float_as_int((float)(unsigned)o[3]);
    o[8] = (int)(__float2ll_rn(x) >> 16);
    o[9] = __float_as_int((float)(unsigned short)i);
    o[10] = (signed char)i;
    o[11] = __float2int_rd(x) ^ __float2int_ru(x);
}

extern "C" __global__ void integers(const unsigned *a, const unsigned *b, unsigned *out) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned x = a[i], y = b[i];
    unsigned *o = out + i * 24;
    o[0] = x / y;
    o[1] = x % y;
    o[2] = (unsigned)((int)x / ((int)y | 1));
    o[3] = (unsigned)((int)x % ((int)y | 1));
    o[4] = __umulhi(x, y);
    o[5] = (unsigned)__mulhi((int)x, (int)y);
    o[6] = __byte_perm(x, y, 0x2537);
    o[7] = __byte_perm(x, y, x & 0xffff);
    o[8] = __funnelshift_l(x, y, i);
    o[9] = __funnelshift_r(x, y, i);
    o[10] = __funnelshift_lc(x, y, i);
    o[11] = __funnelshift_rc(x, y, i);
    o[12] = __brev(x);
    o[13] = __clz(x);
    o[14] = __popc(x);
    o[15] = __ffs(x);
    o[16] = (x >> (y & 63)) | ((int)x >> 7);
    o[17] = x << (y & 31);
    o[18] = (x & y) ^ (~x | y);
    const unsigned long long wide = (unsigned long long)x * y + x;
    o[19] = (unsigned)(wide >> 32) + (unsigned)(wide / (y | 1)) + (unsigned)(wide % 1000003ull);
    o[20] = (unsigned)__clzll(wide) + 100 * __popcll(wide) + 10000 * (unsigned)__ffsll(wide);
    o[21] = (unsigned)__mul64hi((long long)wide, -(long long)wide) + (unsigned)__umul64hi(wide, wide);
    o[22] = (unsigned)(short)x * (unsigned)(unsigned short)y + max((int)x, (int)y) + min(x, y) + abs((int)x);
    o[23] = (x / 7) * 3 + (unsigned)((int)y / 10) + y % 13;
}

// Bits from a stream of 64-bit words, as an entropy decoder reads them.
extern "C" __global__ void bit_fields(const unsigned long long *words, const unsigned *offsets, const unsigned char *widths,
                                      unsigned long long *out) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned at = offsets[i], word = at >> 6, shift = at & 63, width = widths[i];
    unsigned long long bits = words[word] >> shift;
    if (shift) bits |= words[word + 1] << (64 - shift);
    out[i] = width < 64 ? bits & ((1ull << width) - 1) : bits;
}

// Sums of vectors of four, read through the read-only cache.
extern "C" __global__ void vectors(const float4 *__restrict__ in, float2 *__restrict__ out, ushort4 *shorts) {
    const unsigned i = threadIdx.x;
    const float4 v = __ldg(&in[i]);
    out[i] = make_float2(v.x + v.y, v.z + v.w);
    shorts[i] = make_ushort4((unsigned short)(int)v.x, (unsigned short)(int)v.y, (unsigned short)(int)v.z, i);
}
