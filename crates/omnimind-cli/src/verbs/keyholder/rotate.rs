//! `keyholder rotate`: a new key, and everything that the store holds sealed to it. Killed at any moment, it goes on when it is
//! run again: the ring knows whether a rotation has begun, and each memory is sealed anew in a commit of its own.

use std::path::Path;

use encrypted_unconscious::KeyRing;
use encrypted_unconscious::keyholder::{AuditLog, Caller, Deed};
use omnimind_memory::Resealed;
use serde::Serialize;

use crate::args::Key;
use crate::failure::Failure;
use crate::output::{Paint, WARN, count};
use crate::record::short;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer {
    public_key: String,
    /// Whether the key was exchanged now; if not, everything was sealed to the one of an earlier rotation.
    new_key: bool,
    #[serde(flatten)]
    resealed: Resealed,
    /// Retired keys that were destroyed.
    destroyed_keys: usize,
    /// Retired keys that are kept.
    retired_keys: usize,
}

pub(super) fn run(session: &Session, key: &Key, resume: bool, destroy: bool) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let path = key.identity(session);
    let asked = key.passphrase(session);
    let mut ring = key.load_with(session, &asked)?;
    // A retired key means that a rotation has not come to its end: another key would only add to it.
    let new_key = is_interrupted(path) || (!resume && ring.identities().count() == 1);
    if new_key {
        let passphrase = asked.if_needed().map_err(Failure::from_keyholder)?;
        KeyRing::begin_rotation(path, passphrase.as_ref()).map_err(Failure::from_keyholder)?;
        ring = key.load_with(session, &asked)?;
    }
    let public_key = ring.current().recipient().to_string();
    let deed = Deed::Rotated { public_key: public_key.clone() };
    AuditLog::append_deed(key.state(session), Caller::this_process(), deed).map_err(Failure::from_custody)?;
    let resealed = {
        let progress = session.output.progress(1);
        let mut told = 0;
        consolidator.reseal(&ring, |done, of| {
            if done == 0 || done - told >= 10 {
                told = done;
                progress.begin(format!("sealing to the new key: {done} of {of}"));
            }
        })?
    };
    let whole = resealed.left.is_empty();
    // Files, of which more may be found than the ring has keys: leftovers of a destruction that was interrupted.
    let (destroyed_keys, retired_keys) = if destroy && whole {
        consolidator.store().gc().map_err(omnimind_memory::Error::Store)?;
        (KeyRing::destroy_retired(path).map_err(Failure::from_keyholder)?, 0)
    } else {
        (0, ring.identities().count() - 1)
    };
    let answer = Answer { public_key, new_key, resealed, destroyed_keys, retired_keys };
    session.output.result(&answer, |out| {
        writeln!(out, "{}", answer.public_key)?;
        writeln!(
            out,
            "  {} sealed to it now, {} were already",
            count(answer.resealed.resealed as u64, "memory"),
            answer.resealed.already
        )?;
        if !answer.new_key && !resume {
            let next = if answer.retired_keys > 0 { "--destroy-retired ends it" } else { "run this again for one" };
            writeln!(out, "  no new key was made: the rotation before had left a retired one; {next}")?;
        }
        for left in &answer.resealed.left {
            writeln!(out, "  {} {}: {}", "left".paint(WARN), short(&left.content_hash), left.reason)?;
        }
        if answer.destroyed_keys > 0 {
            writeln!(out, "  {} destroyed", count(answer.destroyed_keys as u64, "retired key"))?;
        } else if answer.retired_keys > 0 {
            writeln!(
                out,
                "  {} kept: other stores may need it; --destroy-retired destroys it\n  a keyholder that serves \
                 reads the new key when it gets a SIGHUP (`systemctl reload omnimind-keyholder`)",
                count(answer.retired_keys as u64, "retired key")
            )?;
        }
        Ok(())
    })?;
    let sealed_for = &session.config().unconscious.keyholder;
    if sealed_for.starts_with("age1") && *sealed_for != answer.public_key {
        session.output.note(
            "unconscious.keyholder is another public key, and what crashes is sealed to that one; put this one there",
        );
    }
    if whole {
        Ok(())
    } else {
        Err(Failure::Partial("some memories could not be sealed to the new key".to_owned()))
    }
}

/// Whether a rotation was killed while it exchanged the files; then [`KeyRing::begin_rotation`] finishes it with the key that it had
/// made, and makes no other.
fn is_interrupted(identity: &Path) -> bool {
    [".next", ".pub.next"].into_iter().any(|suffix| {
        let mut path = identity.as_os_str().to_owned();
        path.push(suffix);
        Path::new(&path).symlink_metadata().is_ok()
    })
}
