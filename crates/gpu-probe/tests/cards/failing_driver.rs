//! Drivers that are too old, refuse, or fail half-way through, played by the stand-in: what was taken before is given back,
//! and nothing is given back twice.
#![cfg(all(target_os = "linux", feature = "cuda"))]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use cudarc::driver::sys;
use gpu_probe::{CudaGpu, DeviceMemory, Error, GpuProbe, KernelSetup};

use crate::conformance::{Card, MIB, conformance};
use crate::kernels::SETUP;
use crate::stand_in::{build, check_nothing_is_left, run, stand_in_is_here};

const PAGE: u64 = 2 * MIB;

/// Runs one test of this file with a driver that fails like this; `None` without a C compiler.
fn with(mode: &str, flags: &[&str], inside: &str) -> Option<String> {
    let folder = build(inside, "libcuda.so", flags)?;
    Some(run(&folder, mode, &format!("failing_driver::{inside}")))
}

#[test]
fn a_card_whose_kernels_run_conforms() {
    let Some(text) = with("", &[], "inside_a_card_whose_kernels_run") else { return };
    assert!(text.contains("kernels were launched"), "{text}");
    check_nothing_is_left(&text);
}

#[test]
fn an_old_driver_says_what_it_lacks_and_does_the_rest() {
    let Some(text) = with("", &["-DOLD"], "inside_an_old_driver") else { return };
    check_nothing_is_left(&text);
}

#[test]
fn a_card_without_virtual_memory_management_says_so() {
    with("no-anchors", &[], "inside_a_card_without_anchors");
}

#[test]
fn memory_that_cannot_be_mapped_or_opened_is_given_back_and_its_address_stays_vacant() {
    for mode in ["map-full", "access-full"] {
        let Some(text) = with(mode, &[], "inside_a_driver_that_fails_to_occupy") else { return };
        check_nothing_is_left(&text);
    }
}

#[test]
fn memory_that_cannot_be_unmapped_stays_until_it_can() {
    let Some(text) = with("unmap-fails", &[], "inside_a_driver_that_fails_to_vacate") else { return };
    check_nothing_is_left(&text);
    let Some(text) = with("unmap-fails", &[], "inside_a_driver_that_fails_to_free") else { return };
    check_nothing_is_left(&text);
}

#[test]
fn a_program_that_the_driver_does_not_take_leaves_nothing_behind() {
    let Some(text) = with("no-jit", &[], "inside_a_driver_that_does_not_compile") else { return };
    check_nothing_is_left(&text);
}

#[test]
fn a_lane_that_cannot_be_made_leaves_nothing_behind() {
    let Some(text) = with("lock-full", &[], "inside_a_host_without_memory_to_lock") else { return };
    check_nothing_is_left(&text);
}

#[test]
fn an_error_that_the_card_s_memory_cannot_correct_is_not_a_lost_card() {
    with("ecc", &[], "inside_a_card_with_rotten_memory");
}

#[test]
fn a_kernel_that_faults_says_that_the_process_has_to_start_again() {
    with("fault", &[], "inside_a_card_whose_kernel_faults");
}

#[test]
fn what_others_free_and_what_outlives_its_probe_is_no_trouble() {
    let Some(text) = with("", &[], "inside_a_card_used_out_of_order") else { return };
    check_nothing_is_left(&text);
}

/// What `add_one` does, in the place of a card.
///
/// # Safety
/// As cuLaunchKernel: the parameters are those of the kernel.
unsafe extern "C" fn add_one(
    _context: *mut c_void,
    ptx: *const c_char,
    kernel: *const c_char,
    grid: c_uint,
    threads: c_uint,
    parameters: *const *const c_void,
) -> c_int {
    // SAFETY: the stand-in gives two texts, and the parameters that the PTX names: an address and a count.
    let (ptx, kernel, at, count) = unsafe {
        let (at, count) = (*parameters, *parameters.add(1));
        (CStr::from_ptr(ptx), CStr::from_ptr(kernel), *at.cast::<*mut u32>(), *count.cast::<u32>())
    };
    assert!(ptx.to_str().unwrap() == SETUP.ptx && kernel == c"add_one");
    for index in 0..count.min(grid * threads) as usize {
        // SAFETY: the test gave an address with room for so many words.
        unsafe { *at.add(index) += 1 };
    }
    0
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_whose_kernels_run() {
    type Launcher = unsafe extern "C" fn(
        *mut c_void,
        *const c_char,
        *const c_char,
        c_uint,
        c_uint,
        *const *const c_void,
    ) -> c_int;
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    // SAFETY: the stand-in is loaded, and this is the type that it documents.
    unsafe {
        let set = sys::culib().get::<unsafe extern "C" fn(Launcher, *mut c_void)>(b"stand_in_set_launcher");
        set.unwrap()(add_one, std::ptr::null_mut());
    }
    conformance(&Card { memory: &gpu, device: 0, ours_alone: true });
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_an_old_driver() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let text = gpu.allocate_anchored(0, 1).unwrap_err().to_string();
    assert!(text.contains("has no cuDeviceGetAttribute; update it"), "{text}");
    assert!(gpu.allocate_anchored(0, 0).is_err());
    let text = gpu.kernels(0, &SETUP).unwrap_err().to_string();
    assert!(
        text.contains("cannot run kernels: this CUDA driver has no cuCtxSynchronize; update the driver"),
        "{text}"
    );
    // It does not tell what an address is, so the caller's promise must do.
    let owner = gpu.allocate(0, 10).unwrap();
    // SAFETY: the owner is freed afterwards.
    let adopted = unsafe { gpu.adopt(0, owner.address(), 10) }.unwrap();
    gpu.write(&adopted, 0, &[3; 10]).unwrap();
    assert_eq!(gpu.free(adopted).unwrap(), 0);
    assert_eq!(gpu.free(owner).unwrap(), 10);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_without_anchors() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let refused = gpu.allocate_anchored(0, 1).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { device: 0, .. }));
    assert!(
        refused.to_string().contains("has no virtual memory management; allocate ordinary memory"),
        "{refused}"
    );
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_driver_that_fails_to_occupy() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let free = gpu.memory(0).unwrap().free_bytes;
    let anchored = gpu.allocate_anchored(0, 3 * MIB).unwrap();
    assert_eq!(gpu.vacate(&anchored).unwrap(), 2 * PAGE);
    let Err(Error::OutOfMemory(oom)) = gpu.occupy(&anchored) else { panic!("it was to fail") };
    assert_eq!((oom.requested_bytes, oom.free_bytes, oom.allocated_bytes), (3 * MIB, free, 0));
    assert!(matches!(gpu.read(&anchored, 0, &mut [0]), Err(Error::Vacant { bytes, .. }) if bytes == 3 * MIB));
    gpu.occupy(&anchored).unwrap();
    gpu.write(&anchored, 3 * MIB - 1, &[1]).unwrap();
    assert_eq!(gpu.free(anchored).unwrap(), 2 * PAGE);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_driver_that_fails_to_vacate() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let anchored = gpu.allocate_anchored(0, 4).unwrap();
    gpu.write(&anchored, 0, b"kept").unwrap();
    let failed = gpu.vacate(&anchored).unwrap_err();
    assert!(failed.to_string().starts_with("vacating memory failed on GPU 0: "), "{failed}");
    let mut out = [0; 4];
    gpu.read(&anchored, 0, &mut out).unwrap();
    assert_eq!(&out, b"kept");
    assert_eq!(gpu.vacate(&anchored).unwrap(), PAGE);
    assert_eq!(gpu.free(anchored).unwrap(), 0);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_driver_that_fails_to_free() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let anchored = gpu.allocate_anchored(0, 4).unwrap();
    let failed = gpu.free(anchored).unwrap_err();
    gpu.write(&failed.allocation, 0, b"kept").unwrap();
    assert_eq!(gpu.free(failed.allocation).unwrap(), PAGE);
    // Left behind on purpose: the probe gives the memory and the address back, vacant or not.
    let _ = gpu.allocate_anchored(0, 4).unwrap();
    let vacant = gpu.allocate_anchored(0, 4).unwrap();
    gpu.vacate(&vacant).unwrap();
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_driver_that_does_not_compile() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let refused = gpu.kernels(0, &SETUP).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, Error::Unsupported { device: 0, .. }));
    assert!(text.contains("ptxas: too old.") && text.len() < 4500, "{} bytes: {text}", text.len());
    assert!(text.ends_with("update the driver; the processor does the same work meanwhile"), "{text}");
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_host_without_memory_to_lock() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let refused = gpu.kernels(0, &SETUP).unwrap_err();
    // It is the host that is full, so consolidating the card would not help.
    assert!(
        matches!(refused, Error::Driver { .. }) && refused.to_string().contains("page-locking"),
        "{refused}"
    );
    assert_eq!(gpu.memory(0).unwrap().used_bytes, 0);
    drop(gpu.kernels(0, &SETUP).unwrap());
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_with_rotten_memory() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let held = gpu.allocate(0, 8).unwrap();
    assert!(matches!(gpu.read(&held, 0, &mut [1; 8]), Err(Error::Uncorrectable { device: 0 })));
    let mut queue = gpu.kernels(0, &SETUP).unwrap();
    assert!(matches!(queue.fetch(0, held.address(), 0, 8), Err(Error::Uncorrectable { device: 0 })));
    gpu.free(held).unwrap();
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_whose_kernel_faults() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let held = gpu.allocate(0, 8).unwrap();
    let anchored = gpu.allocate_anchored(0, 8).unwrap();
    let mut queue = gpu.kernels(0, &SETUP).unwrap();
    queue.launch(0, "add_one", 1, 1, &[0, 1]).unwrap();
    let failed = queue.staging(0).unwrap_err();
    assert!(matches!(failed, Error::Broken { device: 0, .. }));
    let text = failed.to_string();
    assert!(
        text.contains("waiting for lane 0 failed on GPU 0") && text.ends_with("any more: restart it"),
        "{text}"
    );
    for failed in [
        queue.join().unwrap_err(),
        queue.fetch(1, held.address(), 0, 8).unwrap_err(),
        gpu.read(&held, 0, &mut [0; 8]).unwrap_err(),
        gpu.vacate(&anchored).unwrap_err(),
    ] {
        assert!(matches!(failed, Error::Broken { device: 0, .. }), "{failed}");
    }
    // Nothing can be given back any more, and nothing is lost track of or ended twice.
    let failed = gpu.free(anchored).unwrap_err();
    assert!(matches!(failed.source, Error::Broken { .. }));
    drop(queue);
    drop(gpu);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_used_out_of_order() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let owner = gpu.allocate(0, 100).unwrap();
    // SAFETY: the promise is broken below on purpose; the stand-in finds every address that is not memory.
    let adopted = unsafe { gpu.adopt(0, owner.address(), 100) }.unwrap();
    gpu.free(owner).unwrap();
    let failed = gpu.read(&adopted, 0, &mut [0; 100]).unwrap_err();
    assert!(failed.to_string().contains("its owner freed this memory"), "{failed}");
    assert_eq!(gpu.free(adopted).unwrap(), 0);

    let anchored = gpu.allocate_anchored(0, 100).unwrap();
    // SAFETY: as above.
    let adopted = unsafe { gpu.adopt(0, anchored.address(), 100) }.unwrap();
    gpu.vacate(&anchored).unwrap();
    let failed = gpu.write(&adopted, 0, &[0; 100]).unwrap_err();
    assert!(failed.to_string().contains("there is no memory under"), "{failed}");

    let mut queue = gpu.kernels(0, &SETUP).unwrap();
    let text = queue.launch(0, "add_one", 1, 1, &[0]).unwrap_err().to_string();
    assert!(text.contains("it takes 2 arguments, and 1 were given"), "{text}");
    let odd = SETUP.ptx.replace(".param .u32 add_one_count", ".param .align 4 .b8 add_one_count[16]");
    let mut structured = gpu.kernels(0, &KernelSetup { ptx: &odd, ..SETUP }).unwrap();
    let text = structured.launch(0, "add_one", 1, 1, &[0, 0]).unwrap_err().to_string();
    assert!(text.contains("it takes more than plain numbers"), "{text}");

    drop(gpu);
    let to = queue.scratch(2).address;
    queue.staging(2).unwrap()[..4].copy_from_slice(b"here");
    queue.send(2, 0, to, 4).unwrap();
    queue.fetch(2, to, 4, 4).unwrap();
    assert_eq!(&queue.staging(2).unwrap()[4..8], b"here");
}
