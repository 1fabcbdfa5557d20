/* A stand-in for NVIDIA's driver and management libraries: one card of 256 MiB made of host memory, strict about contexts
 * and ranges. It lets the code for real cards run where there is none. A vacated address has no memory: touching it is a
 * segmentation fault. Streams are done with everything at once. STAND_IN chooses a way to fail:
 *   broken       the driver does not start             none          the driver starts and counts no card
 *   full         no memory for a context               lost          copies report that the card is gone
 *   ecc          copies report an uncorrectable error  no-anchors    the card has no virtual memory management
 *   map-full     the 2nd cuMemMap finds no memory      access-full   the 2nd cuMemSetAccess fails
 *   unmap-fails  the 1st cuMemUnmap fails              no-jit        the compiler is older than any program
 *   lock-full    the 2nd cuMemHostAlloc finds nothing  fault         a kernel touches what is not there: all fails from then on
 * Built with -DINCOMPLETE it lacks a symbol that is needed, with -DOLD all that is optional. The same file is built as
 * libcuda.so and, with -DMANAGEMENT, as libnvidia-ml.so.1. Any program may build it:
 *   cc -shared -fPIC -pthread -w -o FOLDER/libcuda.so driver.c
 * and start itself again with FOLDER in LD_LIBRARY_PATH and STAND_IN set, empty for no failure.
 *
 * It does not compute by itself. A program that can run PTX says so, before its first launch, through two symbols of its own,
 * which it looks up in the loaded library (dlopen("libcuda.so") gives the same one again):
 *
 *   void stand_in_set_launcher(launcher launch, void *context);
 *     `launch` is then called for each cuLaunchKernel, on the thread that launches, with the text of the program, the name of
 *     the kernel, the number of blocks and of threads in each (both in x alone), and cuLaunchKernel's `kernelParams`: one
 *     pointer to the value of each parameter, as many as the PTX says. They are valid during the call only. Addresses are
 *     addresses in this process. It returns 0, or a CUresult.
 *   int stand_in_is_memory(unsigned long long address, size_t bytes);
 *     Whether all these bytes are memory of the card now, in one allocation or mapping.
 *
 * Without a launcher a launch is CUDA_ERROR_NOT_SUPPORTED. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, UNAVAILABLE = 46, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201,
    UNCORRECTABLE = 214, INVALID_PTX = 218, UNSUPPORTED_PTX_VERSION = 222, INVALID_HANDLE = 400, NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801, UNKNOWN = 999
};
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
static unsigned long long pinned_bytes;
static int started, references, reservations, mappings, streams, modules, faulted;
static int context; /* its address is the handle */
static __thread void *stack[8];
static __thread int depth;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int current(void) { return started && references > 0 && depth > 0 && stack[depth - 1] == &context; }
#define IN_CONTEXT if (!current()) return INVALID_CONTEXT; if (faulted) return ILLEGAL_ADDRESS

struct physical { size_t bytes; int held, mapped; };
/* One address that stays, and what is under it. */
struct reserved { char *at; size_t bytes; char *whole; size_t whole_bytes; struct physical *under; int open; struct reserved *next; };
static struct reserved *reserved;

static int within(const char *at, size_t bytes, const char *start, size_t len) {
    return at >= start && bytes <= len && (size_t)(at - start) <= len - bytes;
}
/* Under the lock. */
static int inside(const char *at, size_t bytes) {
    for (struct block *b = blocks; b; b = b->next)
        if (within(at, bytes, b->at, b->bytes)) return 1;
    for (struct reserved *r = reserved; r; r = r->next)
        if (r->open && within(at, bytes, r->at, r->bytes)) return 1;
    return 0;
}
int stand_in_is_memory(unsigned long long address, size_t bytes) {
    pthread_mutex_lock(&lock);
    int there = inside((char *)address, bytes);
    pthread_mutex_unlock(&lock);
    return there;
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
    fprintf(stderr,
            "stand-in: context released, %llu bytes left, %d contexts left, %d reservations left, %d mappings left, "
            "%llu pinned bytes left, %d streams left, %d modules left\n",
            used, references, reservations, mappings, pinned_bytes, streams, modules);
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
    IN_CONTEXT;
    pthread_mutex_lock(&lock);
    *free_bytes = CAPACITY - used;
    *total = CAPACITY;
    pthread_mutex_unlock(&lock);
    return OK;
}
int cuMemAlloc_v2(unsigned long long *address, size_t bytes) {
    IN_CONTEXT;
    if (bytes == 0) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int code = OUT_OF_MEMORY;
    if (bytes <= CAPACITY - used) {
        struct block *b = malloc(sizeof *b);
        *b = (struct block){aligned_alloc(512, (bytes + 511) / 512 * 512), bytes, blocks};
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
    IN_CONTEXT;
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
    if (mode("lost")) return UNAVAILABLE;
    if (mode("ecc")) return UNCORRECTABLE;
    if (faulted) return ILLEGAL_ADDRESS;
    pthread_mutex_lock(&lock);
    int ok = bytes > 0 && inside(card, bytes);
    pthread_mutex_unlock(&lock);
    if (ok) memcpy(to, from, bytes);
    return ok ? OK : INVALID_VALUE;
}
int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t bytes) { return copy((void *)to, from, (void *)to, bytes); }
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes) { return copy(to, (void *)from, (void *)from, bytes); }


#ifndef OLD
/* Virtual memory management. */
#define PAGE (2ull << 20)
struct location { int type, id; };
struct properties { int type, handles; struct location location; void *windows; unsigned char flags[8]; };
struct access { struct location location; int flags; };

/* Whether the call in hand is the n-th of those that ask. */
static int nth(int *calls, int n) { return ++*calls == n; }

static int of_this_card(const struct location *location) { return location->type == 1 && location->id == CARD; }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 102 && !mode("no-anchors");
    return device == CARD ? OK : INVALID_DEVICE;
}
int cuCtxSynchronize(void) { IN_CONTEXT; return OK; }
int cuMemGetAllocationGranularity(size_t *bytes, const struct properties *wanted, int option) {
    *bytes = PAGE;
    return wanted->type == 1 && of_this_card(&wanted->location) && (option == 0 || option == 1) ? OK : INVALID_VALUE;
}
int cuMemAddressReserve(unsigned long long *address, size_t bytes, size_t alignment, unsigned long long wish, unsigned long long flags) {
    IN_CONTEXT;
    if (bytes == 0 || bytes % PAGE || alignment || wish || flags) return INVALID_VALUE;
    char *whole = mmap(NULL, bytes + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (whole == MAP_FAILED) return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    struct reserved *r = malloc(sizeof *r);
    char *at = (char *)(((unsigned long long)whole + PAGE - 1) / PAGE * PAGE);
    *r = (struct reserved){at, bytes, whole, bytes + PAGE, NULL, 0, reserved};
    reserved = r;
    reservations++;
    pthread_mutex_unlock(&lock);
    *address = (unsigned long long)at;
    return OK;
}
/* Under the lock: a whole reservation. */
static struct reserved *whole(unsigned long long address, size_t bytes) {
    for (struct reserved *r = reserved; r; r = r->next)
        if (r->at == (char *)address && r->bytes == bytes) return r;
    return NULL;
}
int cuMemAddressFree(unsigned long long address, size_t bytes) {
    IN_CONTEXT;
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct reserved *gone = whole(address, bytes);
    if (gone && !gone->under) {
        struct reserved **at = &reserved;
        while (*at != gone) at = &(*at)->next;
        *at = gone->next;
        munmap(gone->whole, gone->whole_bytes);
        free(gone);
        reservations--;
        code = OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}
/* Under the lock: memory lives as long as its handle or a mapping. */
static void end_if_unused(struct physical *memory) {
    if (memory->held || memory->mapped) return;
    used -= memory->bytes;
    free(memory);
}
int cuMemCreate(struct physical **handle, size_t bytes, const struct properties *wanted, unsigned long long flags) {
    IN_CONTEXT;
    if (bytes == 0 || bytes % PAGE || flags || wanted->type != 1 || wanted->handles || !of_this_card(&wanted->location))
        return INVALID_VALUE;
    int code = OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    if (bytes <= CAPACITY - used) {
        *handle = malloc(sizeof **handle);
        **handle = (struct physical){bytes, 1, 0};
        used += bytes;
        code = OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}
int cuMemRelease(struct physical *handle) {
    IN_CONTEXT;
    pthread_mutex_lock(&lock);
    handle->held = 0;
    end_if_unused(handle);
    pthread_mutex_unlock(&lock);
    return OK;
}
int cuMemMap(unsigned long long address, size_t bytes, size_t offset, struct physical *handle, unsigned long long flags) {
    static int calls;
    IN_CONTEXT;
    if (mode("map-full") && nth(&calls, 2)) return OUT_OF_MEMORY;
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct reserved *r = whole(address, bytes);
    if (r && !r->under && offset == 0 && !flags && handle->held && handle->bytes == bytes) {
        r->under = handle;
        handle->mapped = 1;
        mappings++;
        code = OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}
int cuMemSetAccess(unsigned long long address, size_t bytes, const struct access *wanted, size_t count) {
    static int calls;
    IN_CONTEXT;
    if (mode("access-full") && nth(&calls, 2)) return OUT_OF_MEMORY;
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct reserved *r = whole(address, bytes);
    if (r && r->under && count == 1 && of_this_card(&wanted->location) && wanted->flags == 3) {
        mprotect(r->at, bytes, PROT_READ | PROT_WRITE);
        memset(r->at, 0xA5, bytes);
        r->open = 1;
        code = OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}
int cuMemUnmap(unsigned long long address, size_t bytes) {
    static int calls;
    IN_CONTEXT;
    if (mode("unmap-fails") && nth(&calls, 1)) return UNKNOWN;
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct reserved *r = whole(address, bytes);
    if (r && r->under) {
        /* What was there goes, the address stays. */
        mmap(r->at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        r->open = 0;
        r->under->mapped = 0;
        end_if_unused(r->under);
        r->under = NULL;
        mappings--;
        code = OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

/* What an address is. */
int cuPointerGetAttribute(void *value, int attribute, unsigned long long address) {
    IN_CONTEXT;
    unsigned long long start = 0, bytes = 0;
    unsigned mapped = 1;
    pthread_mutex_lock(&lock);
    for (struct block *b = blocks; b; b = b->next)
        if (within((char *)address, 1, b->at, b->bytes)) { start = (unsigned long long)b->at; bytes = b->bytes; }
    for (struct reserved *r = reserved; r; r = r->next)
        if (within((char *)address, 1, r->at, r->bytes)) {
            start = (unsigned long long)r->at;
            bytes = r->bytes;
            mapped = r->under != NULL;
        }
    pthread_mutex_unlock(&lock);
    if (bytes == 0) return INVALID_VALUE;
    switch (attribute) {
    case 2: *(unsigned *)value = 2; return OK; /* memory of a card */
    case 9: *(int *)value = 0; return OK; /* of the first */
    case 11: *(unsigned long long *)value = start; return OK;
    case 12: *(size_t *)value = bytes; return OK;
    case 13: *(unsigned char *)value = mapped; return OK;
    default: return INVALID_VALUE;
    }
}

/* Programs. */
struct function { char *name; struct module *program; struct function *next; };
struct module { char *ptx; struct function *functions; };
struct stream { int alive; };
struct pinned { char *at; size_t bytes; struct pinned *next; };
static struct pinned *pinned;
typedef int (*launcher)(void *context, const char *ptx, const char *kernel, unsigned grid, unsigned threads, void *const *parameters);
static launcher launch_with;
static void *launch_context;

void stand_in_set_launcher(launcher launch, void *launcher_context) {
    launch_with = launch;
    launch_context = launcher_context;
}

static int refuse(int code, const char *words, unsigned count, const int *options, void **values) {
    char *log = NULL;
    size_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == 5) log = values[i];
        if (options[i] == 6) size = (size_t)values[i];
    }
    /* As much as fits, and no closing zero: a reader must stop by itself. */
    for (size_t at = 0; log && at < size; at++) log[at] = words[at % strlen(words)];
    return code;
}
int cuModuleLoadDataEx(struct module **module, const void *image, unsigned count, const int *options, void **values) {
    IN_CONTEXT;
    const char *ptx = image, *version = strstr(ptx, ".version"), *target = strstr(ptx, ".target");
    if (mode("no-jit")) return refuse(UNSUPPORTED_PTX_VERSION, "ptxas: too old. ", count, options, values);
    if (!version || !target) return refuse(INVALID_PTX, "ptxas: \377 syntax error. ", count, options, values);
    if (atoi(version + 8) > 9) return UNSUPPORTED_PTX_VERSION;
    *module = malloc(sizeof **module);
    **module = (struct module){strdup(ptx), NULL};
    pthread_mutex_lock(&lock);
    modules++;
    pthread_mutex_unlock(&lock);
    return OK;
}
int cuModuleUnload(struct module *module) {
    IN_CONTEXT;
    while (module->functions) {
        struct function *gone = module->functions;
        module->functions = gone->next;
        free(gone->name);
        free(gone);
    }
    free(module->ptx);
    free(module);
    pthread_mutex_lock(&lock);
    modules--;
    pthread_mutex_unlock(&lock);
    return OK;
}
int cuModuleGetFunction(struct function **out, struct module *module, const char *name) {
    IN_CONTEXT;
    size_t len = strlen(name);
    const char *more = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$%";
    for (const char *at = strstr(module->ptx, ".entry"); at && len; at = strstr(at, ".entry")) {
        at += strlen(".entry");
        const char *here = at + strspn(at, " \t\r\n");
        if (strncmp(here, name, len) || (here[len] && strchr(more, here[len]))) continue;
        *out = malloc(sizeof **out);
        **out = (struct function){strdup(name), module, module->functions};
        module->functions = *out;
        return OK;
    }
    return NOT_FOUND;
}
int cuFuncLoad(struct function *function) { IN_CONTEXT; return function ? OK : INVALID_HANDLE; }
int cuStreamCreate(struct stream **stream, unsigned flags) {
    IN_CONTEXT;
    if (flags != 1) return INVALID_VALUE;
    *stream = malloc(sizeof **stream);
    (*stream)->alive = 1;
    pthread_mutex_lock(&lock);
    streams++;
    pthread_mutex_unlock(&lock);
    return OK;
}
int cuStreamDestroy_v2(struct stream *stream) {
    IN_CONTEXT;
    if (!stream || !stream->alive) return INVALID_HANDLE;
    free(stream);
    pthread_mutex_lock(&lock);
    streams--;
    pthread_mutex_unlock(&lock);
    return OK;
}
int cuStreamSynchronize(struct stream *stream) { IN_CONTEXT; return stream && stream->alive ? OK : INVALID_HANDLE; }
int cuMemHostAlloc(void **out, size_t bytes, unsigned flags) {
    static int calls;
    IN_CONTEXT;
    if (bytes == 0 || flags != 1) return INVALID_VALUE;
    char *at = mode("lock-full") && nth(&calls, 2) ? NULL : malloc(bytes);
    if (!at) return OUT_OF_MEMORY;
    memset(at, 0xA5, bytes);
    pthread_mutex_lock(&lock);
    struct pinned *p = malloc(sizeof *p);
    *p = (struct pinned){at, bytes, pinned};
    pinned = p;
    pinned_bytes += bytes;
    pthread_mutex_unlock(&lock);
    *out = at;
    return OK;
}
int cuMemFreeHost(void *at) {
    IN_CONTEXT;
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (struct pinned **p = &pinned; *p; p = &(*p)->next)
        if ((*p)->at == at) {
            struct pinned *gone = *p;
            *p = gone->next;
            pinned_bytes -= gone->bytes;
            free(gone->at);
            free(gone);
            code = OK;
            break;
        }
    pthread_mutex_unlock(&lock);
    return code;
}
static int is_pinned(const char *at, size_t bytes) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (struct pinned *p = pinned; p; p = p->next) found |= within(at, bytes, p->at, p->bytes);
    pthread_mutex_unlock(&lock);
    return found;
}
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t bytes, struct stream *stream) {
    if (!stream || !stream->alive || !is_pinned(to, bytes)) return INVALID_VALUE;
    return copy(to, (void *)from, (void *)from, bytes);
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t bytes, struct stream *stream) {
    if (!stream || !stream->alive || !is_pinned(from, bytes)) return INVALID_VALUE;
    return copy((void *)to, from, (void *)to, bytes);
}
int cuLaunchKernel(struct function *kernel, unsigned x, unsigned y, unsigned z, unsigned threads_x, unsigned threads_y,
                   unsigned threads_z, unsigned shared, struct stream *stream, void **parameters, void **extra) {
    IN_CONTEXT;
    if (!kernel || !stream || !stream->alive) return INVALID_HANDLE;
    if (x == 0 || y != 1 || z != 1 || threads_x == 0 || threads_x > 1024 || threads_y != 1 || threads_z != 1 || shared || extra)
        return INVALID_VALUE;
    if (mode("fault")) { faulted = 1; return OK; } /* noticed by the next call */
    if (!launch_with) return NOT_SUPPORTED;
    return launch_with(launch_context, kernel->program->ptx, kernel->name, x, threads_x, parameters);
}
#endif

#else /* NVML, as far as it is asked */
enum { NVML_NOT_SUPPORTED = 3, NVML_NOT_FOUND = 6, NVML_INSUFFICIENT_SIZE = 7, NVML_GPU_IS_LOST = 15 };
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
int nvmlDeviceGetCount_v2(unsigned *out) { *out = mode("none") ? 0 : 1; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (mode("lost")) return NVML_GPU_IS_LOST;
    return index ? INVALID_VALUE : nvmlDeviceGetHandleByPciBusId_v2("0000:65:00.0", device);
}
static int instance; /* its address is the handle of the only instance, in the mode "cut" */
int nvmlDeviceGetUUID(void *device, char *out, unsigned len) {
    snprintf(out, len, device == &instance ? "MIG-stand-in" : "GPU-stand-in");
    return device ? OK : INVALID_VALUE;
}
int nvmlDeviceGetName(void *device, char *out, unsigned len) {
    snprintf(out, len, device == &instance ? "Stand-in GPU MIG 1g.10gb" : "Stand-in GPU");
    return device ? OK : INVALID_VALUE;
}
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 12080; return OK; }
int nvmlDeviceGetPowerUsage(void *device, unsigned *out) { *out = 61400; return device ? OK : INVALID_VALUE; }
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *out) { *out = 75000; return device ? OK : INVALID_VALUE; }
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *out) {
    *out = type == 1 ? 1530 : 6001; /* processors, memory */
    return device && (type == 1 || type == 2) ? OK : INVALID_VALUE;
}
int nvmlDeviceGetCurrPcieLinkGeneration(void *device, unsigned *out) { *out = 3; return device ? OK : INVALID_VALUE; }
int nvmlDeviceGetCurrPcieLinkWidth(void *device, unsigned *out) { *out = 8; return device ? OK : INVALID_VALUE; }
int nvmlDeviceGetPcieThroughput(void *device, int counter, unsigned *out) {
    usleep(20000); /* as the real one, which counts for so long */
    *out = counter == 0 ? 100 : 200; /* sent, received, in kilobytes */
    return device ? OK : INVALID_VALUE;
}
int nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, unsigned long long *out) {
    *out = 3;
    return device && type == 1 && counter == 0 ? OK : INVALID_VALUE; /* uncorrected, since the driver was loaded */
}
int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *after) {
    *now = *after = mode("cut");
    return device ? OK : INVALID_VALUE;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *out) { *out = 7; return device ? OK : INVALID_VALUE; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **out) {
    *out = &instance;
    return mode("cut") && device && index == 2 ? OK : NVML_NOT_FOUND;
}
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
