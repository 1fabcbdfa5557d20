use proptest::prelude::*;

use super::*;

const GIB: f64 = (1_u64 << 30) as f64;

#[expect(clippy::unnecessary_wraps, reason = "compared with what may be none")]
fn gib(value: f64) -> Option<u64> {
    Some((value * GIB) as u64)
}

#[test]
fn the_old_wording_of_pytorch_gives_every_number() {
    let message = recognise(
        "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 3.81 GiB total capacity; 2.90 GiB already \
         allocated; 17.50 MiB free; 3.02 GiB reserved in total by PyTorch) If reserved memory is >> allocated memory try \
         setting max_split_size_mb to avoid fragmentation.",
    )
    .unwrap();
    assert_eq!(message.source, Source::PyTorch);
    let expected = Numbers {
        device: Some(0),
        requested_bytes: Some(20 << 20),
        total_bytes: gib(3.81),
        free_bytes: Some(35 << 19),
        allocated_bytes: gib(2.90),
        reserved_bytes: gib(3.02),
        reserved_unallocated_bytes: Some((3.02 * GIB) as u64 - (2.90 * GIB) as u64),
        ..Numbers::default()
    };
    assert_eq!(message.numbers, expected);
}

#[test]
fn the_new_wording_of_pytorch_gives_every_number_and_every_process() {
    let message = recognise(
        "E       torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 4.00 \
         GiB of which 17.00 MiB is free. Process 1234 has 1.00 GiB memory in use. Process 99 has 512.00 MiB memory in use. \
         Including non-PyTorch memory, this process has 2.50 GiB memory in use. Of the allocated memory 2.00 GiB is allocated \
         by PyTorch, and 256.00 MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try",
    )
    .unwrap();
    let process = |pid, bytes| ProcessUse { pid, name: None, bytes: Some(bytes) };
    let expected = Numbers {
        device: Some(1),
        requested_bytes: gib(2.0),
        total_bytes: gib(4.0),
        free_bytes: Some(17 << 20),
        allocated_bytes: gib(2.0),
        reserved_bytes: gib(2.25),
        reserved_unallocated_bytes: Some(256 << 20),
        this_process_bytes: gib(2.5),
        others: vec![process(1234, 1 << 30), process(99, 512 << 20)],
        ..Numbers::default()
    };
    assert_eq!(message.numbers, expected);
}

#[test]
fn what_gpu_probe_prints_is_read_whole() {
    let line = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4.00 GiB of which 3.00 GiB is free, \
                1.00 GiB of it in one piece. Process 7 (python) has 512.00 MiB memory in use. Process 8 has memory in use. This \
                process has 3.00 MiB memory in use: 1.00 MiB allocated, 2.00 MiB reserved but unallocated. Memory is fragmented: \
                3.00 GiB is 3221225472 bytes";
    let message = recognise(line).unwrap();
    assert_eq!((message.source, message.says_fragmented), (Source::GpuProbe, true));
    let numbers = message.numbers;
    assert_eq!(numbers.largest_free_bytes, gib(1.0));
    assert_eq!((numbers.free_bytes, numbers.total_bytes), (gib(3.0), gib(4.0)));
    assert_eq!((numbers.allocated_bytes, numbers.reserved_bytes), (Some(1 << 20), Some(3 << 20)));
    assert_eq!(numbers.reserved_unallocated_bytes, Some(2 << 20));
    let named = ProcessUse { pid: 7, name: Some("python".into()), bytes: Some(512 << 20) };
    assert_eq!(numbers.others, [named, ProcessUse { pid: 8, name: None, bytes: None }]);
    let short = "CUDA out of memory. Tried to allocate 1.00 KiB. GPU 0 has a total capacity of 1.00 GiB of which 5 bytes is free. \
                 This process has allocated 1.00 MiB. Consolidate what is idle, or allocate less.";
    let numbers = recognise(short).unwrap().numbers;
    assert_eq!((numbers.allocated_bytes, numbers.free_bytes), (Some(1 << 20), Some(5)));
}

#[test]
fn every_framework_is_recognised_with_what_it_asked_for() {
    use Source::*;
    for (line, source, requested) in [
        (
            "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
            Jax,
            Some(1 << 34),
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 18.3G of 15.5G hbm.", Jax, None),
        (
            "ResourceExhaustedError: OOM when allocating tensor with shape[256,1024,1024] and type float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc",
            TensorFlow,
            Some(1 << 30),
        ),
        ("OOM when allocating tensor with shape[] and type mystery on x", TensorFlow, None),
        (
            "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,589,934,592 bytes (allocated so far: 1,024 bytes).",
            CuPy,
            Some(8 << 30),
        ),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", GpuLibrary, None),
        (
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            GpuLibrary,
            None,
        ),
        ("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", GpuLibrary, None),
        (
            "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 8 GiB",
            PyTorchOther,
            Some(1 << 30),
        ),
        (
            "RuntimeError: MPS backend out of memory (MPS allocated: 5.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB). Tried to allocate 256.00 MB on private pool.",
            PyTorchOther,
            Some(256 << 20),
        ),
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
            Vllm,
            None,
        ),
        (
            "ValueError: Free memory on device (3.25/80.0 GiB) on startup is less than desired GPU memory utilization (0.9, 72.0 GiB).",
            Vllm,
            Some(72 << 30),
        ),
        (
            "(4.00 GiB KV cache is needed, which is larger than the available KV cache memory (2.00 GiB). Try increasing `gpu_memory_utilization`",
            Vllm,
            Some(4 << 30),
        ),
        (
            "BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 1073741824",
            OnnxRuntime,
            Some(1 << 30),
        ),
        ("CUDA failure 2: out of memory ; GPU=1 ; hostname=x", OnnxRuntime, None),
        ("Available memory of 512 is smaller than requested bytes of 4096", OnnxRuntime, Some(4096)),
        ("RuntimeError: CUDA error: out of memory", Driver, None),
        ("cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY (2)", Driver, None),
        ("tests/test_a.py:12: OutOfMemoryError", PyTorch, None),
        ("FAILED tests/test_a.py::t - torch.OutOfMemoryError: CUDA out of m...", PyTorch, None),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 34359738368 bytes. Error code 12",
            HostAllocator,
            Some(32 << 30),
        ),
        (
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 2.00 GiB for an array with shape (1,)",
            HostAllocator,
            Some(2 << 30),
        ),
        ("E   MemoryError", HostAllocator, None),
        ("terminate called after throwing an instance of 'std::bad_alloc'", HostAllocator, None),
        (
            "[ 1.5] Out of memory: Killed process 4242 (python3) total-vm:9000kB, anon-rss:8000kB, file-rss:0kB",
            Kernel,
            None,
        ),
        (
            "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=python3,pid=4242,uid=0",
            Kernel,
            None,
        ),
    ] {
        let message = recognise(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!((message.source, message.numbers.requested_bytes), (source, requested), "{line}");
    }
}

#[test]
fn the_kernel_names_whom_it_killed() {
    for (line, bytes) in [
        (
            "Memory cgroup out of memory: Killed process 4242 (python3) total-vm:9kB, anon-rss:8kB",
            Some(8 << 10),
        ),
        ("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=python3,pid=4242,uid=0", None),
    ] {
        let others = recognise(line).unwrap().numbers.others;
        assert_eq!(others, [ProcessUse { pid: 4242, name: Some("python3".into()), bytes }], "{line}");
    }
}

#[test]
fn code_and_prose_that_talk_of_it_are_no_messages() {
    for line in [
        "    except torch.cuda.OutOfMemoryError:",
        ">       raise torch.OutOfMemoryError(\"CUDA out of memory. Tried to allocate 20.00 MiB\")",
        "        with pytest.raises(RuntimeError, match=\"CUDA out of memory\"):",
        "    if \"CUDA out of memory\" in str(error):",
        "E       assert 'CUDA out of memory' in 'nothing'",
        "from torch import OutOfMemoryError",
        "raise MemoryError",
        "class OutOfMemoryError(RuntimeError): ...",
        "tests/test_oom.py::test_handles_oom PASSED",
        "out of memory handling is enabled",
        "finished without CUDA out of memory",
        "RESOURCE_EXHAUSTED: quota exceeded for requests per minute",
        "the KV cache is warm",
        "f\"CUDA out of memory. Tried to allocate {size} MiB\"",
        "TotalMemoryErrors: 0",
        "GPU memory utilization: 85 %",
    ] {
        assert_eq!(recognise(line), None, "{line}");
    }
}

proptest! {
    #[test]
    fn no_message_is_missed_because_it_has_no_mark(parts in prop::collection::vec(prop::sample::select(PARTS), 0..5)) {
        let line = parts.concat();
        prop_assert_eq!(recognise(&line), read(&line));
    }
}

/// Of which the messages are made that are recognised.
const PARTS: &[&str] = &[
    "CUDA",
    "HIP",
    "XPU",
    "MPS backend",
    " error:",
    "Error:",
    ": ",
    " ",
    "O",
    "o",
    "Out of memory",
    "ut of memory",
    " out of memory",
    ". Tried to allocate ",
    "20.00 MiB",
    "7 bytes",
    ": Kill",
    "ed process 7 (python) ",
    "OOM killer: Kill",
    "oom-kill:constraint=x,pid=7",
    " while trying to allocate ",
    " trying to allocate ",
    " allocating ",
    "CUDA failure 2",
    "RESOURCE_EXHAUSTED",
    " memory",
    "E   ",
    "OOM when allocating",
    "Failed to allocate memory for requested buffer of size ",
    "Available memory of ",
    " is smaller than requested bytes of ",
    "is less than desired GPU memory utilization",
    " KV cache is needed",
    "No available memory for the cache blocks",
    "can be stored in KV cache",
    "CUDNN_STATUS",
    "_ALLOC_FAILED",
    "_ALLOCATION_FAILED",
    "rocblas_status_memory_error",
    "DefaultCPUAllocator: ",
    "std::bad_alloc",
    "MemoryError",
    "_Array",
    "OutOfMemory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "cudaErrorMemoryAllocation",
];
