//! For `systemd uninstall`: takes back all that stands, and removes the files in which it was written down.

use systemd_policy::Roots;
use systemd_policy::act::{Measures, SystemdHands, lift_all};

use super::failure;
use super::state::State;
use crate::args::Whose;
use crate::failure::Failure;

/// Leaves nothing of what was set, neither in effect nor on disk; refuses to forget what could not be taken back.
pub(in crate::verbs) fn clear(user: bool) -> Result<(), Failure> {
    let state = State::of(&Whose { user, state: None })?;
    if !state.is_there() {
        return Ok(());
    }
    // Held until its files are gone, so that nobody else is at work with them.
    let mut measures = Measures::open(state.path()).map_err(failure)?;
    let mut hands =
        if user { SystemdHands::user(Roots::default()) } else { SystemdHands::system(Roots::default()) };
    let applied = lift_all(&mut hands, &mut measures);
    if let Some(first) = applied.could_not.first() {
        return Err(Failure::Partial(format!(
            "{}: {}; nothing was removed; `omnimind memory apply --undo` tries to take back what was set again",
            first.what, first.reason
        )));
    }
    state.remove()
}
