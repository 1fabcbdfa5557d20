//! R13: messages as the programs print them, and texts that only look like them.

use topic_classifier::{Classifier, ClassifierConfig, ErrorKind, Signals, findings};

const OUT_OF_MEMORY: &[&str] = &[
    // PyTorch, from 1.0 to 2.x
    "RuntimeError: CUDA out of memory. Tried to allocate 12.50 MiB (GPU 0; 10.92 GiB total capacity; 8.57 MiB already \
     allocated; 9.28 GiB free; 4.68 MiB cached)",
    "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 3.81 GiB total capacity; 2.93 GiB already \
     allocated; 18.19 MiB free; 3.02 GiB reserved in total by PyTorch) If reserved memory is >> allocated memory try \
     setting max_split_size_mb to avoid fragmentation.",
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 22.00 MiB. GPU 0 has a total capacty of 23.65 \
     GiB of which 11.06 MiB is free. Including non-PyTorch memory, this process has 23.60 GiB memory in use.",
    "E       torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has a total capacity of \
     3.81 GiB of which 1.00 MiB is free.",
    "FAILED tests/test_embed.py::test_batch - torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB",
    "RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other call",
    "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 16.00 GiB. GPU 0 has a total capacity of 15.24 GiB",
    "torch.OutOfMemoryError: XPU out of memory. Tried to allocate 4.00 GiB.",
    "RuntimeError: MPS backend out of memory (MPS allocated: 5.05 GB, other allocations: 3.90 GB, max allowed: 9.07 GB)",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: you tried \
     to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)",
    // JAX and XLA
    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7406166528 bytes.",
    "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Failed to allocate request for 2.00GiB (2147483648B) on device \
     ordinal 0",
    "XlaRuntimeError: RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm.",
    "Execution of replica 0 failed: Resource exhausted: Out \nof memory while trying to allocate 5520758552 bytes.",
    // TensorFlow
    "ResourceExhaustedError (see above for traceback): OOM when allocating tensor with shape[256,112,112,64]",
    "W op_kernel.cc:1158] Resource exhausted: OOM when allocating tensor with shape[2304,384]",
    "tensorflow.python.framework.errors_impl.ResourceExhaustedError: failed to allocate memory [Op:AddV2]",
    "E cuda_driver.cc:828] failed to allocate 32.00M (33554432 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    // CuPy
    "cupy.cuda.memory.OutOfMemoryError: out of memory to allocate 1073741824 bytes (total 12373894656 bytes)",
    "Exception in main training loop: Out of memory allocating 25,600,000 bytes (allocated so far: 3,635,267,072 bytes).",
    "cupy.cuda.runtime.CUDARuntimeError: cudaErrorMemoryAllocation: out of memory",
    // cuDNN, cuBLAS, HIP
    "Could not create cudnn handle: CUDNN_STATUS_ALLOC_FAILED",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "hipErrorOutOfMemory",
    "RuntimeError: HIP error: hipErrorOutOfMemory (error code 2)",
    // The kernel and those who relay it
    "[ 1836.276684] Memory cgroup out of memory: Killed process 4971 (netdata) total-vm:47820kB, anon-rss:7560kB",
    "kernel: [  518.050606] Out of memory: Killed process 1234 (python) total-vm:11964kB, anon-rss:4288kB",
    "May 07 21:43:54 doom kernel: Out of memory: Kill process 27438 (R) score 31 or sacrifice child",
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task=python,pid=1234,uid=0",
    "kernel: CPU 2/KVM invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=872",
    "oom_reaper: reaped process 15784 (python3), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
    "omnimind.service: Failed with result 'oom-kill'.",
    "omnimind.service: A process of this unit has been killed by the OOM killer.",
    "Last State: Terminated\n  Reason: OOMKilled",
    // The host
    "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array with shape (1000000000,)",
    "OSError: [Errno 12] Cannot allocate memory",
    "MemoryError",
];

const CRASHES: &[&str] = &[
    "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):",
    "Segmentation fault (core dumped)",
    "Process 1234 exited: SIGSEGV",
    "*** Process received signal ***\nSignal: Segmentation fault (11)\nSignal code: Address not mapped (1)",
    "python[4711]: segfault at 0 ip 00007f6c1 sp 00007ffd error 4 in libtorch.so",
    "worker 3 was terminated by signal 11",
    "container exit code: 139",
    "traps: python3[22] general protection fault ip:7f12 sp:7ffe error:0 in libcuda.so",
    "RuntimeError: CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronous",
    "E cuda_event.cc:29] Error polling for event status: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access",
    "CUDA error at ./inc/cuda/kernel2.cu:596 code=700(cudaErrorIllegalAddress) \"cudaDeviceSynchronize()\"",
    "Memory access fault by GPU node-1 (Agent handle: 0x55) on address 0x7f00. Reason: Page not present.",
    "RuntimeError: CUDA error: device-side assert triggered",
    "terminate called after throwing an instance of 'c10::Error'",
];

const NEITHER: &[&str] = &[
    "",
    "the room memory of a hotel",
    "ZOOM is not OOM-like",
    "a memory-mapped file",
    "bloom filter, boom, headroom, mushroom",
    "tests/test_gpu.py::test_handles_oom_gracefully PASSED",
    "tests/test_gpu.py::test_cuda_out_of_memory_is_caught PASSED",
    "test result: ok. OOM tests: 0 failed",
    "OOM count: 0",
    "oom_kill 0",
    "oom_score_adj=872",
    "    except torch.cuda.OutOfMemoryError:",
    "with pytest.raises(torch.OutOfMemoryError):",
    "installing the SIGSEGV handler",
    "no segmentation fault",
    "This avoids a CUDA out of memory",
    "Memory usage is high, but nothing ran out",
    "google.api_core.exceptions.ResourceExhausted: 429 Quota exceeded for requests per minute",
    "StatusCode.RESOURCE_EXHAUSTED: Received message larger than max (4194405 vs. 4194304)",
    "ResourceExhaustedError: /tmp/ckpt; No space left on device",
    "Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.20GiB with freed_by_count=0. The caller indicates \
     that this is not a failure, but this may mean that there could be performance gains if more memory were available.",
    "pay attention to signal 11.5 dB",
    "the bridge had a structural failure",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "an illegal move, memory access granted",
];

fn kinds(text: &str) -> Vec<ErrorKind> {
    let mut kinds: Vec<_> = findings(text).map(|f| f.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

// R13
#[test]
fn out_of_memory_messages_of_every_library_are_recognised() {
    for text in OUT_OF_MEMORY {
        assert_eq!(kinds(text), [ErrorKind::OutOfMemory], "{text}");
    }
}

// R13
#[test]
fn crashes_and_illegal_accesses_are_recognised() {
    for text in CRASHES {
        assert_eq!(kinds(text), [ErrorKind::Crash], "{text}");
    }
}

// R13
#[test]
fn texts_that_only_look_like_a_message_are_not_recognised() {
    for text in NEITHER {
        assert_eq!(findings(text).map(|f| f.evidence).collect::<Vec<_>>(), [""; 0], "{text}");
    }
}

// R13
#[test]
fn messages_are_found_in_the_middle_of_a_log_and_quoted_in_any_way() {
    for (texts, kind) in [(OUT_OF_MEMORY, ErrorKind::OutOfMemory), (CRASHES, ErrorKind::Crash)] {
        for text in texts {
            for log in [
                format!("epoch 3: loss 0.1\n{text}\nepoch 4"),
                format!("“{text}”"),
                format!("{} {text}", "─".repeat(300)),
                format!("{{\"level\":\"error\",\"pad\":\"{}\",\"msg\":\"{text}\"}}", "x".repeat(300)),
            ] {
                assert!(findings(&log).any(|f| f.kind == kind), "{log}");
            }
        }
    }
}

// R13
#[test]
fn a_log_of_megabytes_made_to_be_slow_is_read_to_its_end() {
    let classifier = Classifier::new(ClassifierConfig::default()).unwrap();
    for hard in
        ["out of ", "out ", "resource exhausted ", "a", "_", "é", "OutOfMemoryError.", "\u{0}", "\n", " "]
    {
        let mut text = hard.repeat((2 << 20) / hard.len());
        text.push_str("\nSIGSEGV");
        let answer = classifier.classify(&Signals { text: Some(text), ..Signals::default() });
        assert!(answer.reasons.iter().any(|r| r.evidence == "SIGSEGV"), "{hard:?}");
    }
}
