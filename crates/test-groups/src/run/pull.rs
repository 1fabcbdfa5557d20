//! Runners that start their tests themselves: workers of pytest, and `nextest` (see `at_gate`). Both ask before a test begins, and tell
//! when it has ended. Here is what they have in common, and pytest.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::mpsc::Sender;
use std::thread::Scope;
use std::time::Instant;

use serde_json::{Value, json};

use super::context::Context;
use super::dispatcher::{Dispatcher, Message, Place, Running};
use super::first_worker::FirstWorker;
use super::follow::{Ended, Follow, SharedCapture, Stop, follow};
use super::ledger::{End, How};
use super::slots::most_at_once;
use super::socket::{Peer, Socket};
use super::workers::Workers;
use crate::gate::Answer;
use crate::process;
use crate::runners::pytest::{self, Finished};

/// A test that waits for leave to begin.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) peer: Peer,
    pub(super) place: Place,
    pub(super) pid: u32,
}

impl Asking {
    pub(super) fn refuse(&self) {
        self.peer.answer(&Answer { go: false, mark: String::new() });
    }
}

/// Who pulls tests.
#[derive(Debug)]
pub(super) enum Pull {
    /// Nobody: each test is started here.
    None,
    Pytest(Box<Pytest>),
    Nextest {
        stop: Stop,
        over: bool,
        capture: SharedCapture,
        _socket: Socket,
    },
}

/// Workers, and tests in processes of their own that report in the same way.
#[derive(Debug)]
pub(super) struct Pytest {
    socket: Socket,
    workers: Workers,
    live: HashMap<u32, LiveWorker>,
    /// What is at the other end of each connection.
    peers: HashMap<u64, Other>,
    /// What tests in processes of their own said before these ended.
    finished: HashMap<usize, Finished>,
}

#[derive(Debug)]
pub(super) struct LiveWorker {
    pub(super) stop: Stop,
    pid: u32,
    pub(super) capture: SharedCapture,
}

impl LiveWorker {
    /// Starts it and follows it; `messages` hears how it ended.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        context: &'env Context<'env>,
        messages: &Sender<Message>,
        socket: &Socket,
        worker: u32,
    ) -> std::io::Result<Self> {
        let mut command = pytest::worker(context);
        pytest::set_up(context, &mut command, socket, pytest::Role::Worker(worker));
        if most_at_once(context.group.concurrency) > 1 {
            command.env("OMNIMIND_TEST_SHARES_CARD", "1");
        }
        let mark = context.mark(format_args!("worker-{worker}"));
        let started = process::start(command, &mark)?;
        let live = Self { stop: Stop::default(), pid: started.child.id(), capture: SharedCapture::default() };
        let how = Follow {
            name: format!("worker {worker}"),
            mark,
            stop: live.stop.clone(),
            log: context.log,
            capture: SharedCapture::clone(&live.capture),
            forensics: None,
        };
        let messages = messages.clone();
        scope.spawn(move || {
            let ended = follow(started, &how);
            // Nobody listens only once the group is over.
            let _ = messages.send(Message::Worker { worker, ended });
        });
        Ok(live)
    }
}

#[derive(Debug, Clone, Copy)]
enum Other {
    Worker(u32),
    Run(usize),
}

impl Pull {
    pub(super) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Pytest(pytest) => Some(&pytest.socket),
            Self::None | Self::Nextest { .. } => None,
        }
    }

    /// Nobody will ask any more.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::None => true,
            Self::Pytest(pytest) => pytest.workers.is_done(),
            Self::Nextest { over, .. } => *over,
        }
    }

    pub(super) fn stop(&mut self) {
        match self {
            Self::None => {}
            Self::Pytest(pytest) => {
                pytest.workers.close();
                pytest.live.values().for_each(|worker| worker.stop.ask());
            }
            Self::Nextest { stop, .. } => stop.ask(),
        }
    }

    pub(super) fn stop_worker(&self, worker: u32) {
        if let Self::Pytest(pytest) = self
            && let Some(worker) = pytest.live.get(&worker)
        {
            worker.stop.ask();
        }
    }

    /// What a test in a process of its own said.
    pub(super) fn take_finished(&mut self, test: usize) -> Option<Finished> {
        match self {
            Self::Pytest(pytest) => pytest.finished.remove(&test),
            Self::None | Self::Nextest { .. } => None,
        }
    }

    fn pytest(&mut self) -> Option<&mut Pytest> {
        match self {
            Self::Pytest(pytest) => Some(pytest),
            Self::None | Self::Nextest { .. } => None,
        }
    }
}

impl Finished {
    pub(super) fn how(&self) -> How {
        match self.outcome.as_str() {
            "passed" => How::Passed,
            "skipped" => How::Skipped,
            _ => How::Failed,
        }
    }
}

impl Dispatcher<'_, '_> {
    pub(super) fn listen(&self) -> Option<Socket> {
        let messages = self.messages.clone();
        let heard = move |incoming| {
            // Nobody listens only once the group is over.
            let _ = messages.send(Message::Heard(incoming));
        };
        Socket::listen(self.context.private, heard).ok()
    }

    /// Goes on with the worker that listed the tests; each of these is given to it, or to another.
    pub(super) fn go_on_with(&mut self, first: FirstWorker, tests: Vec<usize>) {
        let FirstWorker { socket, live, peer } = first;
        let mut workers = Workers::new(tests);
        let number = workers.begin();
        self.pull = Pull::Pytest(Box::new(Pytest {
            socket,
            workers,
            live: HashMap::from([(number, live)]),
            peers: peer.map(|peer| (peer, Other::Worker(number))).into_iter().collect(),
            finished: HashMap::new(),
        }));
    }

    /// Each test is run in a process of its own, which speaks with us.
    pub(super) fn begin_pytest(&mut self) {
        let Some(socket) = self.listen() else {
            return self.stop(format!("no socket can be made in {}", self.context.private.display()));
        };
        self.pull = Pull::Pytest(Box::new(Pytest {
            socket,
            workers: Workers::default(),
            live: HashMap::new(),
            peers: HashMap::new(),
            finished: HashMap::new(),
        }));
    }

    pub(super) fn start_workers(&mut self) {
        while self.stopped.is_none()
            && self.pull.pytest().is_some_and(|pytest| pytest.workers.wants(self.most_at_once))
        {
            if let Err(error) = self.start_worker() {
                self.stop(format!("pytest cannot be started: {error}"));
            }
        }
    }

    fn start_worker(&mut self) -> std::io::Result<()> {
        let (scope, context, messages) = (self.scope, self.context, self.messages.clone());
        let Some(pytest) = self.pull.pytest() else { return Ok(()) };
        let worker = pytest.workers.begin();
        let live = LiveWorker::start(scope, context, &messages, &pytest.socket, worker)?;
        pytest.live.insert(worker, live);
        Ok(())
    }

    /// A line came in.
    pub(super) fn heard(&mut self, peer: &Peer, line: &Value) {
        let event = line["event"].as_str().unwrap_or_default();
        if event == "enter" {
            if let Ok(question) = serde_json::from_value(line.clone()) {
                self.at_the_gate(peer, &question);
            }
            return;
        }
        let over = self.stopped.is_some();
        let Some(pytest) = self.pull.pytest() else { return };
        if event == "hello" {
            let role = line["role"].as_str().unwrap_or_default();
            let number = |of: &str| role.strip_prefix(of)?.parse::<u64>().ok();
            let worker = number("worker:").map(|worker| Other::Worker(worker as u32));
            if let Some(other) = worker.or_else(|| Some(Other::Run(number("run:")? as usize))) {
                pytest.peers.insert(peer.id, other);
            }
            return;
        }
        if event == "all_collected" {
            return peer.answer(&Value::Null);
        }
        let id = line["id"].as_str().unwrap_or_default();
        let ledger = &*self.ledger;
        match (event, pytest.peers.get(&peer.id).copied()) {
            ("next", Some(Other::Worker(worker))) => {
                let test = if over { None } else { pytest.workers.give(worker) };
                peer.answer(&json!({ "id": test.map(|test| ledger.id(test)) }));
            }
            ("start", Some(Other::Worker(worker))) => {
                let test = pytest.workers.given(worker, |test| ledger.id(test) == id);
                let pid = pytest.live.get(&worker).map(|live| live.pid);
                match test.zip(pid) {
                    Some((test, pid)) if !over => {
                        let asking = Asking { peer: peer.clone(), place: Place::Worker(worker), pid };
                        self.asking.insert(test, asking);
                        self.wait(test);
                    }
                    // Something that was not given to it: its own affair.
                    _ => peer.answer(&Answer {
                        go: !over,
                        mark: self.context.mark(format_args!("worker-{worker}")).test,
                    }),
                }
            }
            ("start", Some(Other::Run(test))) => {
                peer.answer(&Answer { go: true, mark: self.context.mark(test).test });
            }
            ("finished", Some(other)) => {
                self.finished_in_pytest(other, line);
                peer.answer(&Value::Null);
            }
            ("missing", Some(Other::Worker(worker))) => {
                if let Some(test) = pytest.workers.given(worker, |test| ledger.id(test) == id) {
                    pytest.workers.ended(worker, test);
                    self.begin_attempt(test, None, None);
                    self.finish(
                        test,
                        End::failed("a worker did not collect it; are tests named at random?".to_owned()),
                    );
                }
            }
            ("stops", Some(Other::Worker(_))) => {
                let reason = line["reason"].as_str().unwrap_or_default();
                self.stop(format!("pytest stops: {reason}"));
            }
            _ => {}
        }
    }

    fn finished_in_pytest(&mut self, other: Other, line: &Value) {
        let Ok(said) = serde_json::from_value::<Finished>(line.clone()) else { return };
        if let Some(torch) = said.torch() {
            self.context.log.line(&torch);
        }
        let ledger = &*self.ledger;
        let Some(pytest) = self.pull.pytest() else { return };
        let worker = match other {
            Other::Run(test) => {
                pytest.finished.insert(test, said);
                return;
            }
            Other::Worker(worker) => worker,
        };
        let Some(test) = pytest.workers.given(worker, |test| ledger.id(test) == said.id) else { return };
        let Some(running) = self.running.remove(&test) else { return };
        pytest.workers.ended(worker, test);
        let printed = running.capture.lock().unwrap_or_else(PoisonError::into_inner).bytes();
        let out_of_memory = said.out_of_memory(&printed, self.context);
        let (how, message) = running.judged(said.how(), said.message(), self.context);
        self.finish(test, End { how, message, out_of_memory, left_processes: 0, vram: None });
    }

    pub(super) fn worker_ended(&mut self, worker: u32, ended: &Ended) {
        let Some(pytest) = self.pull.pytest() else { return };
        let Some(live) = pytest.live.remove(&worker) else { return };
        let here = |place: &Place| matches!(place, Place::Worker(number) if *number == worker);
        let test = self.running.iter().find(|(_, running)| here(&running.place)).map(|(test, _)| *test);
        let words = live.capture.lock().unwrap_or_else(PoisonError::into_inner);
        let (printed, words) = (words.bytes(), words.message().unwrap_or_default());
        if let Some(test) = test {
            pytest.workers.ended(worker, test);
        }
        let waiting: Vec<usize> =
            self.asking.iter().filter(|(_, asking)| here(&asking.place)).map(|(test, _)| *test).collect();
        let gone = pytest.workers.gone(worker);
        for test in waiting {
            self.asking.remove(&test);
            self.slots.ended(test, None);
        }
        if let Some((test, running)) = test.and_then(|test| Some((test, self.running.remove(&test)?))) {
            let message = format!("its worker ended with {} while it ran\n{words}", ended.how());
            let (how, message) = running.judged(How::Failed, Some(message.trim().to_owned()), self.context);
            let out_of_memory = self.context.forensics.out_of_memory(&mut printed.as_slice());
            let left_processes = ended.left_processes;
            self.finish(test, End { how, message, out_of_memory, left_processes, vram: None });
        } else if ended.left_processes > 0 {
            self.notes
                .push(format!("worker {worker} left {} processes, which were ended", ended.left_processes));
        }
        if gone.hopeless {
            self.stop(format!("workers of pytest end before they run a test, with {}\n{words}", ended.how()));
        }
    }

    /// A test that asked may begin.
    pub(super) fn begin_asking(&mut self, test: usize, asking: &Asking) {
        let mut capture = SharedCapture::default();
        let mut number = None;
        if let (Place::Worker(worker), Some(pytest)) = (&asking.place, self.pull.pytest()) {
            number = Some(*worker);
            pytest.workers.began(*worker);
            if let Some(live) = pytest.live.get(worker) {
                // What it prints from here on is this test's.
                std::mem::take(&mut *live.capture.lock().unwrap_or_else(PoisonError::into_inner));
                capture = SharedCapture::clone(&live.capture);
            }
        }
        self.begin_attempt(test, Some(asking.pid), number);
        let place = asking.place.clone();
        let running =
            Running { began: Instant::now(), place, capture, timed_out: false, cut: false, is_over: false };
        self.running.insert(test, running);
        asking.peer.answer(&Answer { go: true, mark: self.context.mark(test).test });
    }

    /// A connection ended: whoever waited there does not any more.
    pub(super) fn peer_gone(&mut self, peer: u64) {
        let gone: Vec<usize> =
            self.asking.iter().filter(|(_, asking)| asking.peer.id == peer).map(|(test, _)| *test).collect();
        for test in gone {
            self.asking.remove(&test);
            self.slots.ended(test, None);
        }
        if let Some(pytest) = self.pull.pytest() {
            pytest.peers.remove(&peer);
        }
    }
}
