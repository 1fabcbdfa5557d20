//! By which means the machine runs: with the help of the processor, or translated.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};

/// One of qemu's accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor's virtualisation, through `/dev/kvm`.
    Kvm,
    /// Translation: works everywhere, ten to thirty times slower.
    Tcg,
}

impl Accelerator {
    /// qemu's arguments. Two CPUs each; the translator runs them as two threads.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => &["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"],
        }
    }

    /// How long a scenario may take.
    pub(super) fn scenario_limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Kvm => 120,
            Self::Tcg => 480,
        })
    }

    /// How long the machine may say nothing before it counts as hanging: longer than any scenario may take.
    pub(super) fn silence_limit(self) -> Duration {
        self.scenario_limit() + Duration::from_mins(1)
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

impl FromStr for Accelerator {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err("the accelerators are kvm and tcg"),
        }
    }
}

/// The best one that works here.
pub(super) fn choose() -> Result<Accelerator> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the machine has the host's architecture and is made for x86_64 only; run this on such a host");
    }
    let usable = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    Ok(best(usable, &fs::read_to_string("/proc/cpuinfo").unwrap_or_default()))
}

/// `/dev/kvm` alone is not enough: where it stands for KVM without help of the processor, a kernel that was not made for that
/// hangs before its first line.
fn best(kvm_opens: bool, cpuinfo: &str) -> Accelerator {
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags")).flat_map(str::split_whitespace);
    if kvm_opens && flags.any(|flag| flag == "vmx" || flag == "svm") {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_taken_only_where_the_device_opens_and_the_processor_helps() {
        let with = |flag| format!("processor\t: 0\nflags\t\t: fpu {flag} sse\nvmx flags\t: vnmi\n");
        assert_eq!(best(true, &with("vmx")), Accelerator::Kvm);
        assert_eq!(best(true, &with("svm")), Accelerator::Kvm);
        assert_eq!(best(false, &with("vmx")), Accelerator::Tcg);
        assert_eq!(best(true, &with("hypervisor")), Accelerator::Tcg);
        assert_eq!(best(true, ""), Accelerator::Tcg);
    }

    #[test]
    fn names_read_back() {
        for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
            assert_eq!(accelerator.to_string().parse(), Ok(accelerator));
        }
    }
}
