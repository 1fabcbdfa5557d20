//! All in one test: what is locked is counted for the whole process, and tests run at once.

use super::*;

fn locked_bytes(of: impl Fn(&str) -> bool) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| of(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn vm_lck() -> usize {
    locked_bytes(|line| line.starts_with("VmLck:"))
}

#[test]
fn what_is_critical_is_locked_until_the_last_guard_of_a_page_goes() {
    let page = super::super::page_bytes() as usize;
    let before = vm_lck();
    assert_eq!(
        CriticalRegion::lock(&[]).statement(),
        "all 0 bytes stay in RAM, each page from when it is first touched"
    );

    // Large enough to be mapped by itself; what lies in it is aligned to pages.
    let memory = vec![7u8; 64 * page];
    let aligned = memory.as_ptr().align_offset(page);
    let buffer = &memory[aligned..aligned + 32 * page];
    {
        let outer = CriticalRegion::lock(&buffer[..8 * page]);
        assert_eq!(outer.protected_bytes(), 8 * page, "{}", outer.statement());
        assert_eq!(vm_lck() - before, 8 * page);
        let inner = CriticalRegion::lock(&buffer[7 * page + 100..=9 * page]);
        assert_eq!((inner.protected_bytes(), inner.unprotected_bytes()), (2 * page - 99, 0));
        assert_eq!(vm_lck() - before, 10 * page);
        drop(outer);
        assert_eq!(vm_lck() - before, 3 * page);
        drop(inner);
        assert_eq!(vm_lck(), before);
    }
    {
        let owned = CriticalBuffer::lock(buffer[..4 * page].to_vec());
        assert!(vm_lck() - before >= 4 * page);
        assert_eq!((owned.len(), owned.unprotected_bytes()), (4 * page, 0));
        assert_eq!(owned.into_inner(), &buffer[..4 * page]);
    }
    assert_eq!(vm_lck(), before);
    without_rights(buffer, page, before);
}

/// With a limit of five pages and no capability, in a thread of its own: capabilities are a thread's.
fn without_rights(buffer: &[u8], page: usize, before: usize) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
    let limit = (before + 5 * page) as u64;
    nix::sys::resource::setrlimit(Resource::RLIMIT_MEMLOCK, limit.min(hard), hard).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As another user this thread has no capabilities; the others keep theirs.
            if nix::unistd::geteuid().is_root() && !become_nobody() {
                eprintln!("the thread keeps CAP_IPC_LOCK here: the limit is not tested");
                return;
            }
            let region = CriticalRegion::lock(buffer);
            assert_eq!(region.protected_bytes(), 5 * page, "{}", region.statement());
            assert_eq!(region.unprotected_bytes(), 27 * page);
            assert!(region.statement().contains("LimitMEMLOCK="), "{}", region.statement());
            assert_eq!(vm_lck() - before, 5 * page);
            // What is locked already takes no room.
            let again = CriticalRegion::lock(&buffer[..3 * page]);
            assert_eq!(again.unprotected_bytes(), 0);
            drop((region, again));
            assert_eq!(vm_lck(), before);
        });
    });
    nix::sys::resource::setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard).unwrap();
}

/// `setfsuid` of this thread would keep its capability to lock, so its whole effective set is dropped. Whether it is.
fn become_nobody() -> bool {
    super::locks::drop_thread_capabilities().is_ok()
}
