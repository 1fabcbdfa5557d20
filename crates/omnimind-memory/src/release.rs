//! A monitor of the machine asks this process for memory, and idle items leave (R30, R41, R46). Who is answered, and how the question
//! is put, is decided in `systemd-policy`; which items leave, and how, in `idle` and `rescue`. Here is the thread between the two: it
//! begins nothing for which the one who asks would not wait, and says nothing that did not happen.

use std::{
    fs, mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use gpu_probe::human_bytes;
use systemd_policy::act::{
    Memory, RELEASE_PATIENCE,
    release::{Answer, ReleaseListener, Request},
};

use crate::{Consolidator, Error, Relief, Result, StillHeld, idle::Room};

/// No further item is begun so long after a question. What is left of the patience of the one who asks is for the item under way.
const NOTHING_NEW_AFTER: Duration = Duration::from_secs(RELEASE_PATIENCE.as_secs() / 4 * 3);

/// How often the thread looks whether it is to end, and whether its socket is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Most characters of an error in an answer.
const ERROR_CHARS: usize = 300;

/// Answers at a socket as long as it lives; see [`Consolidator::release_on_request`]. Dropping it ends that: an item under way is
/// brought to its end, no other is begun, and the socket is removed.
#[derive(Debug)]
#[must_use = "nobody is answered any more as soon as this is dropped"]
pub struct ReleaseOnRequest {
    path: PathBuf,
    state: Arc<State>,
    /// None only while it is being dropped.
    thread: Option<JoinHandle<()>>,
}

/// What the guard and its thread tell each other.
#[derive(Debug, Default)]
struct State {
    is_over: AtomicBool,
    trouble: Mutex<Option<String>>,
    still_held: Mutex<Vec<StillHeld>>,
}

impl Consolidator {
    /// Listens at a socket where a monitor of the machine (`omnimind memory daemon`, `omnimind memory release`) asks for memory, and
    /// consolidates idle items for it, the least recently used first: those on this consolidator's device when VRAM is asked for
    /// ([`consolidate_idle`](Self::consolidate_idle)), those in host memory when RAM is
    /// ([`consolidate_idle_host`](Self::consolidate_idle_host)). Leased [models](crate::Model) stay. The answer says how many bytes are
    /// free now, how many items left, and what could not leave and why. After 15 s no further item is begun, because nobody waits for the
    /// answer longer than 20 s.
    ///
    /// Root and the user of this process are answered; [`release_on_request_for`](Self::release_on_request_for) answers others, too.
    /// The protocol is described in [`systemd_policy::act::release`]. There is one thread, which ends with what is returned.
    ///
    /// # Errors
    /// If the socket cannot be made: the directory is not there or not writable, or something else is at the path. What happens to the
    /// socket later is said by [`ReleaseOnRequest::trouble`].
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use omnimind_memory::{Consolidator, DType, DeviceMemory, Item, NamedTensor, ProcessContext, SimulatedGpu};
    /// use systemd_policy::act::{Memory, release::ask};
    ///
    /// # let scratch = tempfile::tempdir()?;
    /// # let (dir, socket) = (scratch.path().join("store"), scratch.path().join("release"));
    /// let gpu = Arc::new(SimulatedGpu::new(1 << 20));
    /// let consolidator = Arc::new(Consolidator::builder().store(dir).gpu(gpu.clone()).build()?);
    /// let weights = NamedTensor::device("w", DType::F32, [400, 400], gpu.allocate(0, 4 * 400 * 400)?);
    /// consolidator.idle(Item::new("model", vec![weights]), &ProcessContext::new("server")?).map_err(|f| f.error)?;
    ///
    /// let listening = consolidator.release_on_request(&socket)?;
    /// // Some other process:
    /// let answer = ask(&socket, Memory::Vram, 1, "VRAM is 95 % used", Duration::from_secs(20))?;
    /// assert_eq!((answer.released_bytes, answer.note.as_str()), (640_000, "1 item was consolidated"));
    /// drop(listening);
    /// assert!(!socket.exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release_on_request(self: &Arc<Self>, path: impl AsRef<Path>) -> Result<ReleaseOnRequest> {
        self.release_on_request_for(path, [])
    }

    /// As [`Self::release_on_request`], and answers these users, too, by their numbers.
    ///
    /// # Errors
    /// As [`Self::release_on_request`].
    pub fn release_on_request_for(
        self: &Arc<Self>,
        path: impl AsRef<Path>,
        users: impl IntoIterator<Item = u32>,
    ) -> Result<ReleaseOnRequest> {
        let refused = |reason: std::io::Error| {
            Error::ReleaseSocket(systemd_policy::Error::Refused {
                what: format!("listening at {}", path.as_ref().display()),
                reason: reason.to_string(),
                next_step: "let this process have one more thread, and a working directory".to_owned(),
            })
        };
        // The process may go to another directory.
        let absolute = std::path::absolute(path.as_ref()).map_err(refused)?;
        let state = Arc::new(State::default());
        let server = Server {
            consolidator: Arc::clone(self),
            path: absolute.clone(),
            users: users.into_iter().collect(),
            state: Arc::clone(&state),
        };
        let listener = server.bind().map_err(Error::ReleaseSocket)?;
        let thread = thread::Builder::new().name("release".to_owned());
        let thread = thread.spawn(move || server.serve(listener)).map_err(refused)?;
        Ok(ReleaseOnRequest { path: absolute, state, thread: Some(thread) })
    }

    /// Does what was asked, and says what came of it.
    fn release_for(&self, request: &Request, goes_on: &dyn Fn() -> bool) -> (Answer, Relief) {
        let (room, of) = match request.memory {
            Memory::Vram => (Room::Card(self.device), format!("VRAM of card {}", self.device)),
            Memory::Ram => (Room::Host, "RAM".to_owned()),
        };
        let relief = self.make_room(room, request.release_bytes, goes_on);
        let is_cut_short = relief.released_in(room) < request.release_bytes && !goes_on();
        let nothing = if request.release_bytes == 0 {
            "nothing was asked for".to_owned()
        } else if is_cut_short {
            "there was no time".to_owned()
        } else {
            format!("nothing is idle that holds {of}")
        };
        let mut notes = notes(&relief);
        if notes.is_empty() {
            notes.push(nothing);
        } else if is_cut_short {
            notes.push("the time was up before there was enough: ask again".to_owned());
        }
        (Answer { released_bytes: freed_bytes(&relief, room), note: notes.join("; ") }, relief)
    }
}

/// What is free now. What was handed back to its owner may not be: frameworks keep it for their next tensor.
fn freed_bytes(relief: &Relief, room: Room) -> u64 {
    match room {
        Room::Card(_) | Room::AnyCard => {
            relief.consolidated.iter().map(|(_, outcome)| outcome.freed_bytes).sum()
        }
        Room::Host => relief.released_host_bytes(),
    }
}

fn notes(relief: &Relief) -> Vec<String> {
    let outcomes = || relief.consolidated.iter().map(|(_, outcome)| outcome);
    let mut notes = Vec::new();
    match relief.consolidated.len() {
        0 => {}
        1 => notes.push("1 item was consolidated".to_owned()),
        many => notes.push(format!("{many} items were consolidated")),
    }
    let to_owners: u64 = outcomes().map(|outcome| outcome.released_to_owner_bytes).sum();
    if to_owners > 0 {
        notes.push(format!("{} of VRAM went back to frameworks, which may keep it", human_bytes(to_owners)));
    }
    let still_held: u64 =
        outcomes().flat_map(|outcome| &outcome.still_held).map(|held| held.allocation.bytes()).sum();
    if still_held > 0 {
        notes.push(format!("{} of VRAM could not be freed", human_bytes(still_held)));
    }
    if let Some((_, error)) = relief.failed.first() {
        let error: String = error.to_string().chars().take(ERROR_CHARS).collect();
        notes.push(match relief.failed.len() {
            1 => format!("1 item could not be consolidated and stays: {error}"),
            many => format!("{many} items could not be consolidated and stay, the first because: {error}"),
        });
    }
    notes
}

impl ReleaseOnRequest {
    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why nobody can ask at the moment; none if all is well. The thread goes on trying: a socket that somebody removed is made again.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Some("the thread that answers has ended; listen once more".to_owned());
        }
        lock(&self.state.trouble).clone()
    }

    /// What was stored for those who asked but could not be freed on the device; to be freed again. Each is handed out once, and lost
    /// with this.
    #[must_use = "device memory that could not be freed is in here"]
    pub fn take_still_held(&self) -> Vec<StillHeld> {
        mem::take(&mut lock(&self.state.still_held))
    }
}

impl Drop for ReleaseOnRequest {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // If it panicked, that has been printed, and it has ended.
            drop(thread.join());
        }
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// A panic elsewhere leaves whole what these guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread has.
struct Server {
    consolidator: Arc<Consolidator>,
    path: PathBuf,
    users: Vec<u32>,
    state: Arc<State>,
}

impl Server {
    fn bind(&self) -> systemd_policy::Result<ReleaseListener> {
        let listener = ReleaseListener::bind(&self.path)?;
        Ok(self.users.iter().fold(listener, |listener, &user| listener.allow(user)))
    }

    fn serve(self, listener: ReleaseListener) {
        let mut listening = Some(listener);
        while !self.state.is_over() {
            let came_of_it = if let Some(listener) = &listening {
                self.listen(listener)
            } else {
                thread::park_timeout(LOOK_EVERY);
                self.bind().map(|listener| listening = Some(listener)).map_err(|error| error.to_string())
            };
            if came_of_it.is_err() {
                listening = None;
            }
            *lock(&self.state.trouble) = came_of_it.err();
        }
    }

    /// Waits a moment for somebody who asks.
    fn listen(&self, listener: &ReleaseListener) -> Result<(), String> {
        let answered = listener.answer_one(LOOK_EVERY, |request| {
            let until = Instant::now() + NOTHING_NEW_AFTER;
            let goes_on = || !self.state.is_over() && Instant::now() < until;
            let (answer, relief) = self.consolidator.release_for(request, &goes_on);
            let still_held = relief.consolidated.into_iter().flat_map(|(_, outcome)| outcome.still_held);
            lock(&self.state.still_held).extend(still_held);
            answer
        });
        answered.map_err(|error| error.to_string())?;
        match fs::symlink_metadata(&self.path) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("its socket is gone from {}: {error}", self.path.display())),
        }
    }
}

#[cfg(test)]
mod tests;
