//! The program that fills memory inside the machine. It is this program itself, copied onto the payload: the machine has the
//! same C library as its maker, or says at its first scenario that it has not.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lexopt::{Arg, Parser, ValueExt};

/// The task that it runs as; not for people.
pub(crate) const TASK: &str = "vm-helper";

const PAGE_BYTES: usize = 4096;

/// `eat MIB`: fills that much memory, tells systemd that it is ready, and keeps it until it is killed.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let (mut what, mut mib) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Value(value) if what.is_none() => what = Some(value.string()?),
            Arg::Value(value) if mib.is_none() => mib = Some(value.parse::<usize>()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let (Some("eat"), Some(mib)) = (what.as_deref(), mib) else { bail!("usage: vm-helper eat MIB") };
    let bytes = mib.checked_mul(1 << 20).context("so much memory has no address")?;
    let memory = filled(bytes);
    ready().context("telling systemd that memory is filled")?;
    println!("{} MiB are filled", memory.len() >> 20);
    std::io::stdout().flush()?;
    loop {
        thread::sleep(Duration::from_hours(1));
        std::hint::black_box(&memory);
    }
}

/// No two pages are alike, so none can be merged or kept as a pattern.
fn filled(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    for (number, page) in (1_u64..).zip(memory.chunks_mut(PAGE_BYTES)) {
        for (word, place) in (0_u64..).zip(page.chunks_exact_mut(64)) {
            place[..8].copy_from_slice(&(number << 16 | word).to_le_bytes());
        }
    }
    memory
}

fn ready() -> Result<()> {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        UnixDatagram::unbound()?.send_to(b"READY=1", socket)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_pages_are_alike() {
        let memory = filled(64 * PAGE_BYTES);
        let different: HashSet<&[u8]> = memory.chunks(PAGE_BYTES).collect();
        assert_eq!(different.len(), 64);
    }

    #[test]
    fn what_it_cannot_do_is_refused() {
        for args in
            [&["eat"][..], &["drink", "1"], &["eat", "much"], &["eat", "1", "2"], &["eat", "99999999999999"]]
        {
            assert!(run(Parser::from_args(args)).is_err(), "{args:?}");
        }
    }
}
