//! The code for real cards, run against a stand-in for the driver's libraries, so that it is tested where
//! there is no GPU.
//!
//! Each test starts this program again with the stand-in first in the loader's path; `inside_*` is what runs
//! there.
#![cfg(all(target_os = "linux", feature = "cuda"))]

use std::path::{Path, PathBuf};
use std::process::Command;

use gpu_probe::{
    CudaGpu, DeviceMemory, Error, GpuProbe, MemoryMeter, OomCause, ProcessKind, Recorder, detect,
    detect_to_look,
};

/// Builds one library, or says that there is no C compiler.
pub(crate) fn build(folder: &str, file: &str, flags: &[&str]) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stand-in-{folder}"));
    std::fs::create_dir_all(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cards/driver.c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-pthread", "-w", "-o"])
        .arg(folder.join(file))
        .arg(source)
        .args(flags)
        .status();
    match built {
        Ok(status) => assert!(status.success(), "the stand-in does not compile"),
        Err(error) => {
            println!("no C compiler ({error}): skipped");
            return None;
        }
    }
    Some(folder)
}

/// Runs one of the tests below with the stand-in, and returns what it printed.
pub(crate) fn run(folder: &Path, mode: &str, inside: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--include-ignored", "--exact", inside, "--nocapture"])
        .env("LD_LIBRARY_PATH", folder)
        .env("STAND_IN", mode)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    text
}

/// Whether everything that was taken from the driver was given back in the end.
pub(crate) fn check_nothing_is_left(text: &str) {
    let last = text.lines().rfind(|line| line.starts_with("stand-in: context released"));
    let nothing = "stand-in: context released, 0 bytes left, 0 contexts left, 0 reservations left, 0 mappings left, \
                   0 pinned bytes left, 0 streams left, 0 modules left";
    assert_eq!(last, Some(nothing), "{text}");
}

/// Whether this is the program started again; alone, `--ignored` tests have nothing to test.
pub(crate) fn stand_in_is_here() -> bool {
    std::env::var_os("STAND_IN").is_some()
}

#[test]
fn a_complete_driver_is_found_used_and_left_as_it_was() {
    let Some(folder) = build("complete", "libcuda.so", &[]) else { return };
    build("complete", "libnvidia-ml.so.1", &["-DMANAGEMENT"]);
    let text = run(&folder, "", "stand_in::inside_a_complete_driver");
    check_nothing_is_left(&text);
}

#[test]
fn a_card_behind_the_driver_conforms() {
    let Some(folder) = build("conforming", "libcuda.so", &[]) else { return };
    build("conforming", "libnvidia-ml.so.1", &["-DMANAGEMENT"]);
    let text = run(&folder, "", "conformance::the_real_card_conforms_where_there_is_one");
    assert!(text.contains("Stand-in GPU") && !text.contains("no GPU"), "{text}");
    assert!(!text.contains("no anchored memory") && !text.contains("no kernels"), "{text}");
    check_nothing_is_left(&text);
}

#[test]
fn without_nvml_memory_is_known_and_processes_are_not() {
    let Some(folder) = build("without-nvml", "libcuda.so", &[]) else { return };
    // Hides an NVML that this machine may have.
    std::fs::write(folder.join("libnvidia-ml.so.1"), b"not a library").unwrap();
    run(&folder, "", "stand_in::inside_a_driver_without_nvml");
}

#[test]
fn how_full_a_card_is_can_be_told_without_the_cuda_driver() {
    let Some(folder) = build("meter", "libnvidia-ml.so.1", &["-DMANAGEMENT"]) else { return };
    // Hides a driver that this machine may have.
    std::fs::write(folder.join("libcuda.so"), b"not a library").unwrap();
    run(&folder, "", "stand_in::inside_nvml_alone");
    run(&folder, "none", "stand_in::inside_nvml_without_a_card");
    run(&folder, "lost", "stand_in::inside_nvml_with_a_lost_card");
}

#[test]
#[ignore = "started by the test above, with the stand-in"]
fn inside_nvml_alone() {
    if !stand_in_is_here() {
        return;
    }
    let meter = MemoryMeter::open().unwrap();
    assert_eq!((meter.count(), meter.note()), (1, "Stand-in GPU"));
    let memory = meter.memory(0).unwrap();
    assert_eq!((memory.free_bytes, memory.total_bytes > memory.free_bytes), (1 << 20, true));
    assert!(matches!(meter.memory(1), Err(Error::NoSuchDevice { device: 1, count: 1 })));
    assert_eq!(detect().probe.source(), "none", "the driver is not there");
}

#[test]
#[ignore = "started by the test above, with the stand-in"]
fn inside_nvml_without_a_card() {
    if !stand_in_is_here() {
        return;
    }
    let error = MemoryMeter::open().unwrap_err();
    assert!(matches!(&error, Error::NoDriver { reason } if reason.contains("shows no card")), "{error}");
}

#[test]
#[ignore = "started by the test above, with the stand-in"]
fn inside_nvml_with_a_lost_card() {
    if !stand_in_is_here() {
        return;
    }
    let meter = MemoryMeter::open().unwrap();
    assert!(matches!(meter.memory(0), Err(Error::DeviceLost { device: 0, .. })));
}

#[test]
fn a_card_too_full_to_be_opened_is_reported_by_nvml() {
    let Some(folder) = build("full", "libcuda.so", &[]) else { return };
    build("full", "libnvidia-ml.so.1", &["-DMANAGEMENT"]);
    run(&folder, "full", "stand_in::inside_a_card_too_full_to_be_opened");
}

#[test]
fn a_card_that_fails_a_copy_is_reported_lost() {
    let Some(folder) = build("lost", "libcuda.so", &[]) else { return };
    run(&folder, "lost", "stand_in::inside_a_card_that_fails_a_copy");
}

#[test]
fn a_driver_that_does_not_start_or_shows_no_card_or_lacks_a_symbol_is_no_gpu_with_the_reason() {
    // R28
    let Some(folder) = build("broken", "libcuda.so", &[]) else { return };
    let text = run(&folder, "broken", "stand_in::inside_no_usable_driver");
    assert!(text.contains("no GPU: the CUDA driver does not start: CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)"), "{text}");
    let text = run(&folder, "none", "stand_in::inside_no_usable_driver");
    assert!(text.contains("no GPU: the CUDA driver works, but shows no card"), "{text}");
    let Some(folder) = build("incomplete", "libcuda.so", &["-DINCOMPLETE"]) else { return };
    let text = run(&folder, "", "stand_in::inside_no_usable_driver");
    assert!(text.contains("it has no cuDevicePrimaryCtxRelease_v2"), "{text}");
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_complete_driver() {
    if !stand_in_is_here() {
        return;
    }
    let found = detect();
    assert_eq!(found.note, "Stand-in GPU, CUDA 12.8, driver 570.00");
    assert_eq!(found.probe.source(), "cuda");
    drop(found);

    let gpu = CudaGpu::new().unwrap();
    let info = &gpu.devices().unwrap()[0];
    assert_eq!((info.utilisation_percent, info.temperature_celsius), (Some(42), Some(61)));
    assert_eq!(
        (info.uuid.as_deref(), info.pci_bus_id.as_deref()),
        (Some("GPU-stand-in"), Some("0000:65:00.0"))
    );

    assert_eq!((info.power_milliwatts, info.power_limit_milliwatts), (Some(61_400), Some(75_000)));
    assert_eq!((info.processor_clock_mhz, info.memory_clock_mhz), (Some(1530), Some(6001)));
    assert_eq!(
        (info.pcie_generation, info.pcie_lanes, info.uncorrected_ecc_errors),
        (Some(3), Some(8), Some(3))
    );
    assert_eq!(
        (info.pcie_sent_bytes_per_second, info.pcie_received_bytes_per_second),
        (Some(100_000), Some(200_000))
    );
    assert_eq!(
        (info.driver_version.as_deref(), info.cuda_version.as_deref()),
        (Some("570.00"), Some("12.8"))
    );
    assert!(info.mig.as_ref().is_some_and(|mig| !mig.enabled && mig.instances.is_empty()));

    let processes = gpu.processes(0).unwrap();
    assert!(processes.iter().all(|process| process.kind == Some(ProcessKind::Compute)));
    // NVML gives this process no name, and so what has its number here may be anybody.
    assert_eq!(processes[1].command_line, None);
    assert_eq!((processes[0].pid, processes[0].name.as_deref()), (1, Some("init")));
    assert_eq!((processes[1].pid, processes[1].name.as_deref()), (std::process::id(), None));

    let held = gpu.allocate(0, 200 << 20).unwrap();
    assert_eq!(gpu.memory(0).unwrap().free_bytes, 56 << 20);
    let look = gpu.fragmentation(0).unwrap();
    assert_eq!((look.allocated_bytes, look.reserved_bytes), (200 << 20, Some(5 << 20)));
    let Err(Error::OutOfMemory(oom)) = gpu.allocate(0, 57 << 20) else { panic!("it fitted") };
    assert_eq!((oom.cause, oom.free_bytes, oom.largest_free_bytes), (OomCause::CardFull, 56 << 20, None));
    assert_eq!(oom.other_processes.len(), 1);
    gpu.write(&held, (200 << 20) - 3, b"end").unwrap();
    let mut out = [0; 3];
    gpu.read(&held, (200 << 20) - 3, &mut out).unwrap();
    assert_eq!(&out, b"end");
    assert_eq!(gpu.free(held).unwrap(), 200 << 20);

    // Left behind: the probe frees it.
    let _ = gpu.allocate(0, 1 << 20).unwrap();
}

#[test]
fn looking_takes_nothing_of_a_card_and_instances_of_one_that_is_cut_are_listed() {
    // R28
    let Some(folder) = build("looking", "libcuda.so", &[]) else { return };
    build("looking", "libnvidia-ml.so.1", &["-DMANAGEMENT"]);
    run(&folder, "", "stand_in::inside_a_card_that_is_only_looked_at");
    run(&folder, "cut", "stand_in::inside_a_card_that_is_cut");
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_that_is_only_looked_at() {
    if !stand_in_is_here() {
        return;
    }
    // NVML and the driver differ here, so that it shows who was asked.
    let gpu = CudaGpu::new().unwrap().only_looking();
    assert_eq!(gpu.memory(0).unwrap().free_bytes, 1 << 20);
    assert_eq!(gpu.fragmentation(0).unwrap().free_bytes, 1 << 20);
    let held = gpu.allocate(0, 8).unwrap();
    assert!(gpu.memory(0).unwrap().free_bytes > 1 << 20, "it holds memory, and the driver is asked");
    gpu.free(held).unwrap();
    assert_eq!(detect_to_look().probe.memory(0).unwrap().free_bytes, 1 << 20);

    let recorder = Recorder::new(detect_to_look().probe, 3).unwrap();
    recorder.sample();
    recorder.look_closer();
    recorder.sample();
    let reading = *recorder.history(0)[1].reading().unwrap();
    assert_eq!((reading.power_milliwatts, reading.pcie_sent_bytes_per_second), (Some(61_400), Some(100_000)));
    assert_eq!(reading.others_bytes, Some(3 << 20));
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_that_is_cut() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap().only_looking();
    let mig = gpu.devices().unwrap().remove(0).mig.unwrap();
    assert!(mig.enabled && mig.instances.len() == 1);
    let instance = &mig.instances[0];
    assert_eq!((instance.index, instance.profile.as_deref()), (2, Some("1g.10gb")));
    assert_eq!(instance.uuid.as_deref(), Some("MIG-stand-in"));
    assert_eq!(instance.memory.unwrap().free_bytes, 1 << 20);
    assert!(gpu.memory(0).unwrap().free_bytes > 1 << 20, "of an instance only the driver knows");
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_driver_without_nvml() {
    if !stand_in_is_here() {
        return;
    }
    let found = detect();
    assert!(
        found.note.starts_with("Stand-in GPU, CUDA 12.8; no processes, load or temperature, since NVML"),
        "{}",
        found.note
    );
    let info = &found.probe.devices().unwrap()[0];
    assert_eq!(
        (info.utilisation_percent, info.temperature_celsius, info.uuid.as_deref()),
        (None, None, None)
    );
    assert_eq!(found.probe.memory(0).unwrap().free_bytes, 256 << 20);
    assert!(matches!(found.probe.processes(0), Err(Error::NotReported { .. })));
    assert_eq!(found.probe.fragmentation(0).unwrap().reserved_bytes, None);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_too_full_to_be_opened() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    assert_eq!(gpu.memory(0).unwrap().free_bytes, 1 << 20);
    let Err(Error::OutOfMemory(oom)) = gpu.allocate(0, 2 << 20) else { panic!("it fitted") };
    assert_eq!(oom.free_bytes, 1 << 20);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_that_fails_a_copy() {
    if !stand_in_is_here() {
        return;
    }
    let gpu = CudaGpu::new().unwrap();
    let held = gpu.allocate(0, 8).unwrap();
    assert!(matches!(gpu.write(&held, 0, &[1; 8]), Err(Error::DeviceLost { device: 0 })));
    assert!(matches!(gpu.read(&held, 0, &mut [1; 8]), Err(Error::DeviceLost { device: 0 })));
    gpu.free(held).unwrap();
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_no_usable_driver() {
    if !stand_in_is_here() {
        return;
    }
    let found = detect();
    println!("{}", found.note);
    assert_eq!(found.probe.source(), "none");
    assert!(found.probe.devices().unwrap().is_empty());
}
