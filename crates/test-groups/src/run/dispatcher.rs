//! Starts what may start, hears what ended, and decides what is next: one thread, which all others tell what they see.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::context::{Context, TICK};
use super::first_worker::FirstWorker;
use super::follow::{Ended, Follow, SharedCapture, Stop, follow};
use super::group::tell_listed;
use super::ledger::{End, How, Ledger, Next};
use super::options::{Event, Observer};
use super::pull::{Asking, Pull};
use super::slots::{Slots, most_at_once};
use super::socket::Incoming;
use crate::history::History;
use crate::process::{self, Members};
use crate::report::Outcome;
use crate::runners::nextest::Report;
use crate::runners::{Suite, pytest};
use crate::watch::Watch;
use crate::witness::Witness;

/// How often programs' own statements are read.
const WITNESS_EVERY: Duration = Duration::from_millis(200);
/// How often an observer is told what the card looks like.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What a group needs besides its tests.
pub(super) struct Outside<'a> {
    pub(super) watch: &'a Watch,
    pub(super) history: &'a History,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) witness: Witness,
    /// When the group began, in milliseconds since 1970.
    pub(super) began_unix_ms: u64,
}

/// What other threads tell.
pub(super) enum Message {
    /// The process of one test ended.
    Own { test: usize, ended: Ended },
    /// Something came in on the socket.
    Heard(Incoming),
    /// A worker of pytest ended.
    Worker { worker: u32, ended: Ended },
    /// `nextest` says that a test ended.
    Nextest(Report),
    /// And what that test had left is gone.
    Swept { test: usize, report: Report, left_processes: u64 },
    /// `nextest` ended.
    NextestEnded(Ended),
}

/// Where other threads tell it.
pub(super) struct Inbox {
    pub(super) sender: Sender<Message>,
    pub(super) receiver: Receiver<Message>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

/// A test that runs.
pub(super) struct Running {
    pub(super) began: Instant,
    pub(super) place: Place,
    pub(super) capture: SharedCapture,
    pub(super) timed_out: bool,
    /// Ended because its group was.
    pub(super) cut: bool,
    /// Its runner has said that it ended.
    pub(super) is_over: bool,
}

/// Where a test runs.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In a process that was started for it.
    Own(Stop),
    /// In a worker of pytest.
    Worker(u32),
    /// In a process that `nextest` started.
    Gate(u32),
}

pub(super) struct Dispatcher<'scope, 'env> {
    pub(super) context: &'env Context<'env>,
    pub(super) suite: &'env Suite,
    pub(super) ledger: &'env mut Ledger,
    pub(super) notes: &'env mut Vec<String>,
    pub(super) outside: Outside<'env>,
    pub(super) scope: &'scope Scope<'scope, 'env>,
    pub(super) messages: Sender<Message>,
    pub(super) slots: Slots,
    pub(super) most_at_once: usize,
    pub(super) running: BTreeMap<usize, Running>,
    /// Tests that asked whether they may begin.
    pub(super) asking: HashMap<usize, Asking>,
    pub(super) pull: Pull,
    pub(super) stopped: Option<String>,
    /// Since when each test could have begun.
    waiting_since: HashMap<usize, Instant>,
    /// Since when fewer run than may, by their number.
    room_since: Option<Instant>,
    /// To be run with the processor.
    late: VecDeque<usize>,
    /// Runs now, and nothing else does.
    alone: Option<usize>,
    pub(super) statements_read: Instant,
    told: Instant,
    pub(super) unattributed: u64,
}

impl<'scope, 'env> Dispatcher<'scope, 'env> {
    /// Runs the tests of a suite to their end. Returns why not all of them ran, if that is so.
    pub(super) fn run(
        scope: &'scope Scope<'scope, 'env>,
        context: &'env Context<'env>,
        suite: &'env Suite,
        ledger: &'env mut Ledger,
        notes: &'env mut Vec<String>,
        outside: Outside<'env>,
        (inbox, first): (Inbox, Option<FirstWorker>),
    ) -> Option<String> {
        let Inbox { sender: messages, receiver: heard } = inbox;
        let group = context.group;
        let slots =
            outside.watch.with(|board| Slots::new(group.concurrency, group.gpu_budget_bytes, Some(board)));
        let slots = slots.unwrap_or_else(|| Slots::new(group.concurrency, group.gpu_budget_bytes, None));
        let mut dispatcher = Dispatcher {
            context,
            suite,
            ledger,
            notes,
            outside,
            scope,
            messages,
            slots,
            most_at_once: most_at_once(group.concurrency),
            running: BTreeMap::new(),
            asking: HashMap::new(),
            pull: Pull::None,
            stopped: None,
            waiting_since: HashMap::new(),
            room_since: None,
            late: VecDeque::new(),
            alone: None,
            statements_read: Instant::now(),
            told: Instant::now(),
            unattributed: 0,
        };
        dispatcher.begin(first);
        dispatcher.work(&heard);
        dispatcher.clean_up();
        dispatcher.stopped.take()
    }

    fn begin(&mut self, first: Option<FirstWorker>) {
        let tests: Vec<usize> = (0..self.ledger.len()).filter(|test| !self.ledger.is_done(*test)).collect();
        let skipped = (0..self.ledger.len())
            .filter(|test| self.ledger.report(*test).outcome == Outcome::Skipped)
            .count();
        tell_listed(self.outside.observer, &self.context.group.name, tests.len(), skipped);
        match self.suite {
            Suite::Pytest(suite) => {
                let tests = if suite.stops() { Vec::new() } else { tests };
                match first {
                    Some(first) => self.go_on_with(first, tests),
                    None if tests.is_empty() => {}
                    None => {
                        self.begin_pytest();
                        for test in tests {
                            self.wait(test);
                        }
                    }
                }
            }
            _ if tests.is_empty() => {}
            Suite::Nextest(suite) => self.begin_nextest(suite),
            Suite::Command(_) | Suite::CargoTest(_) => tests.into_iter().for_each(|test| self.wait(test)),
        }
    }

    fn work(&mut self, heard: &Receiver<Message>) {
        loop {
            self.tick();
            self.start_what_may();
            if self.is_done() {
                return;
            }
            match heard.recv_timeout(TICK) {
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => {}
                // Not while this holds a sender.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn is_done(&self) -> bool {
        let waits = self.stopped.is_none() && (self.slots.waiting() > 0 || !self.late.is_empty());
        self.running.is_empty() && !waits && self.pull.is_done()
    }

    /// A test could begin.
    pub(super) fn wait(&mut self, test: usize) {
        self.waiting_since.insert(test, Instant::now());
        let need = self.need_bytes(test);
        self.slots.wait(test, need);
    }

    fn need_bytes(&self, test: usize) -> Option<u64> {
        self.outside.history.need_bytes(&self.context.group.name, self.ledger.id(test))
    }

    fn start_what_may(&mut self) {
        while self.stopped.is_none() && self.alone.is_none() {
            let nothing_else = self.running.is_empty() && self.slots.waiting() == 0 && self.pull.is_done();
            if !self.late.is_empty() && (self.context.group.fail_fast || nothing_else) {
                if self.running.is_empty()
                    && let Some(test) = self.late.pop_front()
                {
                    self.alone = Some(test);
                    self.begin_own(test);
                    continue;
                }
                break;
            }
            let Some(test) = self.slots.start() else { break };
            match self.asking.remove(&test) {
                Some(asking) => self.begin_asking(test, &asking),
                None => self.begin_own(test),
            }
        }
        self.start_workers();
        let room = self.slots.waiting() > 0 && self.running.len() < self.most_at_once;
        self.room_since = room.then(|| self.room_since.unwrap_or_else(Instant::now));
    }

    /// An attempt begins: everybody is told. Its process, if it is there already, does nothing yet.
    pub(super) fn begin_attempt(&mut self, test: usize, process: Option<u32>, worker: Option<u32>) {
        let now = Instant::now();
        let since = self.waiting_since.remove(&test).unwrap_or(now);
        let waited =
            self.room_since.map_or(Duration::ZERO, |room| now.saturating_duration_since(room.max(since)));
        self.outside.watch.begin_test(test, process);
        let now_ms = self.context.now_ms();
        let attempt = self.ledger.begin(test, now_ms, waited.as_millis() as u64, worker);
        if let Some(pid) = process {
            self.ledger.is_process(test, pid, now_ms);
        }
        let (id, on_cpu) = (self.ledger.id(test), self.ledger.on_cpu(test));
        let with = if on_cpu { " with the processor" } else { "" };
        self.context.log.line(&format!("{id}: attempt {attempt} begins{with}"));
        let group = &self.context.group.name;
        self.outside.observer.event(&Event::TestStarted { group, id, attempt, on_cpu });
    }

    fn begin_own(&mut self, test: usize) {
        self.begin_attempt(test, None, None);
        let mut command = self.suite.one(self.context, test);
        if let Some(socket) = self.pull.socket()
            && matches!(self.suite, Suite::Pytest(_))
        {
            pytest::set_up(self.context, &mut command, socket, pytest::Role::Run(test));
        }
        if self.ledger.on_cpu(test) {
            command.envs(&self.context.group.cpu_environment);
        }
        let mark = self.context.mark(test);
        let (stop, capture) = (Stop::default(), SharedCapture::default());
        let program = command.get_program().to_string_lossy().into_owned();
        let running = Running {
            began: Instant::now(),
            place: Place::Own(stop.clone()),
            capture: SharedCapture::clone(&capture),
            timed_out: false,
            cut: false,
            is_over: false,
        };
        let started = match process::start(command, &mark) {
            Ok(started) => started,
            Err(error) => {
                let message = format!("{program} cannot be started: {error}");
                return self.finish(test, End::failed(message));
            }
        };
        let pid = started.child.id();
        self.outside.watch.is_process(test, pid);
        self.ledger.is_process(test, pid, self.context.now_ms());
        self.running.insert(test, running);
        let how = Follow {
            name: self.ledger.id(test).to_owned(),
            mark,
            stop,
            log: self.context.log,
            capture,
            forensics: Some(self.context.forensics),
        };
        let messages = self.messages.clone();
        self.scope.spawn(move || {
            let ended = follow(started, &how);
            // Nobody listens only if the dispatcher panicked.
            let _ = messages.send(Message::Own { test, ended });
        });
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Own { test, ended } => self.own_ended(test, ended),
            Message::Heard(Incoming::Line(peer, line)) => self.heard(&peer, &line),
            Message::Heard(Incoming::Gone(peer)) => self.peer_gone(peer),
            Message::Worker { worker, ended } => self.worker_ended(worker, &ended),
            Message::Nextest(report) => self.nextest_said(report),
            Message::Swept { test, report, left_processes } => self.swept(test, &report, left_processes),
            Message::NextestEnded(ended) => self.nextest_ended(&ended),
        }
    }

    fn own_ended(&mut self, test: usize, ended: Ended) {
        let Some(running) = self.running.remove(&test) else { return };
        let said = self.pull.take_finished(test);
        let capture = running.capture.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let last_words =
            || format!("{}\n{}", ended.how(), capture.message().unwrap_or_default()).trim().to_owned();
        let (how, message) = match (&said, self.suite) {
            (Some(said), _) if said.outcome == "passed" && !ended.success() => {
                (How::Failed, Some(format!("it passed, and then its process ended with {}", last_words())))
            }
            (Some(said), _) => (said.how(), said.message()),
            (None, Suite::Pytest(_)) => (How::Failed, Some(format!("it did not end: {}", last_words()))),
            (None, _) if ended.success() => (How::Passed, None),
            (None, _) => (How::Failed, Some(last_words())),
        };
        let (how, message) = running.judged(how, message, self.context);
        drop(capture);
        let in_report = || said.as_ref().and_then(|said| said.out_of_memory(&[], self.context));
        let end = End {
            how,
            message,
            out_of_memory: ended.out_of_memory.or_else(in_report),
            left_processes: ended.left_processes,
            vram: None,
        };
        self.finish(test, end);
    }

    /// An attempt ended; what is next?
    pub(super) fn finish(&mut self, test: usize, mut end: End) {
        // Before it is known which process was whose no more.
        self.read_statements();
        end.vram = self.outside.watch.end_test(test).and_then(|seen| seen.vram);
        self.slots.ended(test, None);
        if self.alone == Some(test) {
            self.alone = None;
        }
        let what = format!("{}: {:?}", self.ledger.id(test), end.how);
        self.context.log.line(&what);
        match self.ledger.end(test, self.context.now_ms(), end) {
            Next::Retry if self.stopped.is_none() => {
                self.waiting_since.insert(test, Instant::now());
                let need = self.need_bytes(test);
                self.slots.wait_first(test, need);
            }
            Next::OnCpu if self.stopped.is_none() => self.late.push_back(test),
            Next::Retry | Next::OnCpu => {}
            Next::Done => {
                let test = self.ledger.report(test);
                let group = &self.context.group.name;
                self.outside.observer.event(&Event::TestFinished { group, test });
                let failed = matches!(test.outcome, Outcome::Failed | Outcome::TimedOut);
                if failed && self.context.group.fail_fast {
                    let reason = format!("the first failure ends the group: {}", test.id);
                    self.stop(reason);
                }
            }
        }
    }

    /// Nothing more begins, and what runs is ended.
    pub(super) fn stop(&mut self, reason: String) {
        if self.stopped.is_some() {
            return;
        }
        self.context.log.line(&format!("stopped: {reason}"));
        self.stopped = Some(reason);
        self.late.clear();
        for running in self.running.values_mut().filter(|running| !running.is_over) {
            running.cut = true;
            if let Place::Own(stop) = &running.place {
                stop.ask();
            }
        }
        self.pull.stop();
        for (_, asking) in self.asking.drain() {
            asking.refuse();
        }
    }

    fn tick(&mut self) {
        if let Some(reason) = self.context.told_to_end() {
            self.stop(reason);
        }
        self.end_what_takes_too_long();
        let slots = &mut self.slots;
        let looked = self.outside.watch.with(|board| {
            slots.looked(board);
            board.last_sample().zip(board.card_bytes())
        });
        if self.statements_read.elapsed() > WITNESS_EVERY {
            self.read_statements();
        }
        if self.told.elapsed() > TELL_EVERY
            && let Some((sample, card_bytes)) = looked.flatten()
        {
            self.told = Instant::now();
            let group = &self.context.group.name;
            self.outside.observer.event(&Event::Looked { group, sample, card_bytes });
        }
    }

    fn end_what_takes_too_long(&mut self) {
        let Some(timeout) = self.context.group.timeout else { return };
        for (test, running) in &mut self.running {
            if running.timed_out || running.is_over || running.began.elapsed() <= timeout {
                continue;
            }
            running.timed_out = true;
            match &running.place {
                Place::Own(stop) => stop.ask(),
                Place::Worker(worker) => self.pull.stop_worker(*worker),
                Place::Gate(pid) => {
                    let members = Members::of(*pid, self.context.mark(test));
                    self.scope.spawn(move || members.end());
                }
            }
        }
    }
}

impl Drop for Dispatcher<'_, '_> {
    /// Whatever happened: nothing goes on.
    fn drop(&mut self) {
        for running in self.running.values() {
            if let Place::Own(stop) = &running.place {
                stop.ask();
            }
        }
        self.pull.stop();
    }
}

impl Running {
    /// What became of it, in the light of what was done to it.
    pub(super) fn judged(
        &self,
        how: How,
        message: Option<String>,
        context: &Context<'_>,
    ) -> (How, Option<String>) {
        match (self.timed_out, self.cut, context.group.timeout) {
            (true, _, Some(timeout)) => {
                let said = message.map_or_else(String::new, |said| format!("\n{said}"));
                let timeout = humantime::format_duration(timeout);
                (How::TimedOut, Some(format!("it took longer than {timeout}{said}")))
            }
            (false, true, _) => (How::Cut, Some("it was ended together with its group".to_owned())),
            _ => (how, message),
        }
    }
}

impl End {
    pub(super) fn failed(message: String) -> Self {
        Self { how: How::Failed, message: Some(message), out_of_memory: None, left_processes: 0, vram: None }
    }
}
