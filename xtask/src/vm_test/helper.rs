//! The program that does inside the machine what a shell cannot: fills memory, holds models, and listens for what is posted. It is this
//! program itself, copied onto the payload: the machine has the same C library as its maker, or says at its first scenario that
//! it has not.

mod catch;
mod hold;

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use lexopt::{Parser, ValueExt};

/// The task that it runs as; not for people.
pub(crate) const TASK: &str = "vm-helper";

const USAGE: &str = "usage: vm-helper eat MIB | hold MODELS SOCKET STORE | catch PORT FILE";

const PAGE_BYTES: usize = 4096;

/// What it can do.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    /// `eat MIB`: fills that much memory, tells systemd that it is ready, and keeps it until it is killed.
    Eat { bytes: usize },
    /// `hold MODELS SOCKET STORE`: holds models that leave when they are asked for.
    Hold { models: usize, socket: PathBuf, store: PathBuf },
    /// `catch PORT FILE`: appends what is posted to that port to the file.
    Catch { port: u16, file: PathBuf },
}

impl Verb {
    fn parse(args: &mut Parser) -> Result<Self> {
        let mut value = || args.value().context(USAGE);
        let verb = match value()?.string()?.as_str() {
            "eat" => {
                let mib: usize = value()?.parse()?;
                Self::Eat { bytes: mib.checked_mul(1 << 20).context("so much memory has no address")? }
            }
            "hold" => {
                Self::Hold { models: value()?.parse()?, socket: value()?.into(), store: value()?.into() }
            }
            "catch" => Self::Catch { port: value()?.parse()?, file: value()?.into() },
            other => return Err(lexopt::Error::from(format!("there is no verb {other:?}")).into()),
        };
        args.next()?.map_or(Ok(verb), |more| Err(more.unexpected().into()))
    }
}

/// Does it until it is killed.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    match Verb::parse(&mut args)? {
        Verb::Eat { bytes } => eat(bytes)?,
        Verb::Hold { models, socket, store } => hold::run(models, &socket, &store)?,
        Verb::Catch { port, file } => catch::run(port, &file)?,
    }
    Ok(true)
}

fn eat(bytes: usize) -> Result<()> {
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
    fn what_it_is_told_is_understood_and_the_rest_refused() {
        let parsed = |args: &[&str]| Verb::parse(&mut Parser::from_args(args));
        assert_eq!(parsed(&["eat", "3"]).unwrap(), Verb::Eat { bytes: 3 << 20 });
        let catch = Verb::Catch { port: 8080, file: "/run/a".into() };
        assert_eq!(parsed(&["catch", "8080", "/run/a"]).unwrap(), catch);
        let (socket, store) = ("/run/a".into(), "/var/b".into());
        assert_eq!(
            parsed(&["hold", "3", "/run/a", "/var/b"]).unwrap(),
            Verb::Hold { models: 3, socket, store }
        );
        for args in [
            &[][..],
            &["hold", "3", "/run/a"],
            &["eat"],
            &["drink", "1"],
            &["eat", "much"],
            &["eat", "1", "2"],
            &["eat", "99999999999999"],
            &["catch", "1"],
            &["catch", "70000", "/run/a"],
        ] {
            assert!(parsed(args).is_err(), "{args:?}");
        }
    }
}
