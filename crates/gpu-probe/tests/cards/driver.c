/* A stand-in for NVIDIA's driver and management libraries: one card of 256 MiB made of host memory, strict about contexts
 * and ranges. It lets the code for real cards run where there is none. STAND_IN chooses a way to fail:
 *   broken   the driver does not start          none     the driver starts and counts no card
 *   full     no memory for a context            lost     copies report an uncorrectable error
 * Built with -DINCOMPLETE it lacks a symbol. The same file is built as libcuda.so and as libnvidia-ml.so.1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <unistd.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, UNCORRECTABLE = 214 };
#define CAPACITY (256ull << 20)
#define CARD 7 /* the handle is not the index */

static int mode(const char *wanted) {
    const char *chosen = getenv("STAND_IN");
    return chosen && strcmp(chosen, wanted) == 0;
}

#ifndef MANAGEMENT
struct block { char *at; size_t bytes; struct block *next; };
static struct block *blocks;
static unsigned long long used;
static int started, references;
static int context; /* its address is the handle */
static __thread void *stack[8];
static __thread int depth;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int current(void) { return started && references > 0 && depth > 0 && stack[depth - 1] == &context; }

static int inside(const char *at, size_t bytes) {
    for (struct block *b = blocks; b; b = b->next)
        if (at >= b->at && at + bytes <= b->at + b->bytes) return 1;
    return 0;
}

int cuInit(unsigned flags) {
    if (flags) return INVALID_VALUE;
    if (mode("broken")) return NO_DEVICE;
    started = 1;
    return OK;
}
int cuDriverGetVersion(int *version) { *version = 12080; return OK; }
int cuGetErrorName(int code, const char **text) {
    *text = code == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR";
    return OK;
}
int cuGetErrorString(int code, const char **text) {
    *text = code == NO_DEVICE ? "no CUDA-capable device is detected" : "a stand-in's error";
    return OK;
}
int cuDeviceGetCount(int *count) { *count = mode("none") ? 0 : 1; return OK; }
int cuDeviceGet(int *device, int ordinal) { *device = CARD; return ordinal == 0 ? OK : INVALID_DEVICE; }
int cuDeviceGetName(char *name, int len, int device) { snprintf(name, len, "Stand-in GPU"); return device == CARD ? OK : INVALID_DEVICE; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = CAPACITY; return device == CARD ? OK : INVALID_DEVICE; }
int cuDeviceGetPCIBusId(char *id, int len, int device) { snprintf(id, len, "0000:65:00.0"); return device == CARD ? OK : INVALID_DEVICE; }
int cuDevicePrimaryCtxRetain(void **out, int device) {
    if (device != CARD) return INVALID_DEVICE;
    if (mode("full")) return OUT_OF_MEMORY;
    references++;
    *out = &context;
    return OK;
}
#ifndef INCOMPLETE
int cuDevicePrimaryCtxRelease_v2(int device) {
    references--;
    fprintf(stderr, "stand-in: context released, %llu bytes left, %d contexts left\n", used, references);
    return device == CARD ? OK : INVALID_DEVICE;
}
#endif
int cuCtxPushCurrent_v2(void *pushed) {
    if (pushed != &context || depth == 8) return INVALID_CONTEXT;
    stack[depth++] = pushed;
    return OK;
}
int cuCtxPopCurrent_v2(void **popped) {
    if (depth == 0) return INVALID_CONTEXT;
    *popped = stack[--depth];
    return OK;
}
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    if (!current()) return INVALID_CONTEXT;
    pthread_mutex_lock(&lock);
    *free_bytes = CAPACITY - used;
    *total = CAPACITY;
    pthread_mutex_unlock(&lock);
    return OK;
}
int cuMemAlloc_v2(unsigned long long *address, size_t bytes) {
    if (!current()) return INVALID_CONTEXT;
    if (bytes == 0) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int code = OUT_OF_MEMORY;
    if (bytes <= CAPACITY - used) {
        struct block *b = malloc(sizeof *b);
        *b = (struct block){malloc(bytes), bytes, blocks};
        memset(b->at, 0xA5, bytes);
        blocks = b;
        used += bytes;
        *address = (unsigned long long)b->at;
        code = OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}
int cuMemFree_v2(unsigned long long address) {
    if (!current()) return INVALID_CONTEXT;
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (struct block **b = &blocks; *b; b = &(*b)->next)
        if ((*b)->at == (char *)address) {
            struct block *gone = *b;
            *b = gone->next;
            used -= gone->bytes;
            free(gone->at);
            free(gone);
            code = OK;
            break;
        }
    pthread_mutex_unlock(&lock);
    return code;
}
static int copy(void *to, const void *from, const void *card, size_t bytes) {
    if (!current()) return INVALID_CONTEXT;
    if (mode("lost")) return UNCORRECTABLE;
    pthread_mutex_lock(&lock);
    int ok = bytes > 0 && inside(card, bytes);
    pthread_mutex_unlock(&lock);
    if (ok) memcpy(to, from, bytes);
    return ok ? OK : INVALID_VALUE;
}
int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t bytes) { return copy((void *)to, from, (void *)to, bytes); }
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes) { return copy(to, (void *)from, (void *)from, bytes); }

#else /* NVML, as far as it is asked */
enum { NVML_NOT_SUPPORTED = 3, NVML_NOT_FOUND = 6, NVML_INSUFFICIENT_SIZE = 7 };
struct process { unsigned pid; unsigned long long used; unsigned instance, compute; };
struct memory { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
int nvmlSystemGetDriverVersion(char *out, unsigned len) { snprintf(out, len, "570.00"); return OK; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device) {
    static int card;
    *device = &card;
    return strcmp(id, "0000:65:00.0") ? NVML_NOT_FOUND : OK;
}
int nvmlDeviceGetUUID(void *device, char *out, unsigned len) { snprintf(out, len, "GPU-stand-in"); return device ? OK : INVALID_VALUE; }
int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]) { rates[0] = 42; rates[1] = 17; return device ? OK : INVALID_VALUE; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out) { *out = 61; return device && sensor == 0 ? OK : INVALID_VALUE; }
int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *out) {
    out->total = CAPACITY; out->free = 1 << 20; out->used = CAPACITY - (1 << 20); out->reserved = 0;
    return device ? OK : INVALID_VALUE;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *out) {
    if (!out || *count < 2) { *count = 2; return NVML_INSUFFICIENT_SIZE; }
    *count = 2;
    out[0] = (struct process){(unsigned)getpid(), 5 << 20, -1, -1};
    out[1] = (struct process){1, 3 << 20, -1, -1};
    return device ? OK : INVALID_VALUE;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, struct process *out) {
    (void)device; (void)count; (void)out;
    return NVML_NOT_SUPPORTED;
}
int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned len) {
    if (pid != 1) return NVML_NOT_FOUND;
    snprintf(out, len, "init");
    return OK;
}
#endif
