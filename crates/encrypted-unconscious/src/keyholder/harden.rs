//! What a process can do so that its secrets do not reach a disk: no core dumps, no swap.

/// Turns core dumps off, keeps other processes of the same user from looking in, and keeps memory out of swap, each where
/// the system allows it. Returns a sentence about each that could not be done.
///
/// It holds for the whole process and cannot be taken back, so a library should leave it to the program.
#[must_use = "what could not be done should be told"]
pub fn harden_process() -> Vec<String> {
    let mut problems = Vec::new();
    harden(&mut problems);
    problems
}

#[cfg(unix)]
fn harden(problems: &mut Vec<String>) {
    use nix::sys::{
        mman::{MlockAllFlags, mlockall},
        resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
    };

    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        problems.push(format!(
            "core dumps cannot be turned off ({error}); run `ulimit -c 0` before starting the keyholder"
        ));
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        problems.push(format!("the process cannot be closed to others of the same user ({error})"));
    }
    let swap = "memory cannot be kept out of swap";
    let fix = "allow it with `ulimit -l unlimited`, or encrypt the swap";
    // With a limit, memory would be kept out of swap until it is reached, and then the process would be out of memory.
    let unlimited = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok()
        || getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(limit, _)| limit == RLIM_INFINITY);
    if !unlimited {
        problems.push(format!("{swap} (it is limited); {fix}"));
    } else if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        problems.push(format!("{swap} ({error}); {fix}"));
    }
}

#[cfg(not(unix))]
fn harden(problems: &mut Vec<String>) {
    problems.push("core dumps and swap are left as they are on this system".to_owned());
}
