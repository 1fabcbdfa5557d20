//! A keyholder behind a socket: what comes back, and what is said when nobody answers, or something else.
#![cfg(all(unix, feature = "homomorphic"))]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use encrypted_unconscious::{
    EncryptedSignature, Identity, InfluenceError, Query, Sealer,
    keyholder::{
        Allowance, Answer, BudgetConfig, Custody, CustodyConfig, Followed, Keyholder, KeyholderError,
        LocalKeyholder, RemoteKeyholder, Server, ServerOptions, Step, Stop,
        wire::{self, Reply},
    },
};
use tempfile::TempDir;

const STORE: [u8; 32] = [7; 32];
const FOLLOWED: Followed = Followed { position: 1, members: 2 };
const LONG: Duration = Duration::from_mins(1);

/// A folder for a socket, and where in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("k");
    (folder, socket)
}

/// Does something for each connection in turn, and ends after the last.
fn stand_in(
    socket: &PathBuf,
    each: impl IntoIterator<Item = fn(UnixStream), IntoIter: Send> + 'static,
) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let each = each.into_iter();
    thread::spawn(move || each.for_each(|act| act(listener.accept().unwrap().0)))
}

fn greet(stream: &mut UnixStream) {
    let mut greeting = [0; wire::GREETING_BYTES];
    stream.read_exact(&mut greeting).unwrap();
    wire::check_greeting(&greeting).unwrap();
    stream.write_all(&wire::greeting()).unwrap();
}

fn hear(stream: &mut UnixStream) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let length = u64::from(u32::from_le_bytes(length));
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).unwrap();
}

/// Answers one question.
fn answer(mut stream: UnixStream) {
    greet(&mut stream);
    hear(&mut stream);
    stream.write_all(&Reply::Followed(FOLLOWED).to_message()).unwrap();
}

/// Answers one question in these bytes.
fn reply_with(mut stream: UnixStream, bytes: &[u8]) {
    greet(&mut stream);
    hear(&mut stream);
    stream.write_all(bytes).unwrap();
}

/// Asks one whose server does this once, and then nothing.
fn asked_once(act: fn(UnixStream)) -> Result<Followed, KeyholderError> {
    let (_folder, socket) = place();
    let server = stand_in(&socket, [act]);
    let told = RemoteKeyholder::new(&socket).with_timeout(LONG).followed(&STORE);
    server.join().unwrap();
    told
}

#[track_caller]
fn gone(told: Result<Followed, KeyholderError>, because: &str) {
    match told {
        Err(KeyholderError::Gone { reason, .. }) if reason.contains(because) => {}
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn not_understood(told: Result<Followed, KeyholderError>, because: &str) {
    match told {
        Err(KeyholderError::NotUnderstood { reason, .. }) if reason.contains(because) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_keyholder_that_is_not_there_is_gone() {
    let (_folder, socket) = place();
    let client = RemoteKeyholder::new(&socket);
    gone(client.followed(&STORE), "no such socket");
    drop(UnixListener::bind(&socket).unwrap());
    gone(client.followed(&STORE), "nobody listens");
    let long = RemoteKeyholder::new("x".repeat(300));
    gone(long.followed(&STORE), "");
}

#[test]
fn a_keyholder_that_is_killed_is_gone_at_whatever_byte_of_its_answer() {
    gone(asked_once(drop), "hung up");
    gone(asked_once(|mut stream| greet(&mut stream)), "hung up");
    gone(
        asked_once(|mut stream| {
            greet(&mut stream);
            stream.read_exact(&mut [0; 7]).unwrap();
        }),
        "hung up",
    );
    gone(
        asked_once(|mut stream| {
            greet(&mut stream);
            hear(&mut stream);
        }),
        "without an answer",
    );
    gone(
        asked_once(|mut stream| {
            greet(&mut stream);
            hear(&mut stream);
            stream.write_all(&Reply::Followed(FOLLOWED).to_message()[..1]).unwrap();
        }),
        "in the middle",
    );
    gone(
        asked_once(|mut stream| {
            greet(&mut stream);
            hear(&mut stream);
            stream.write_all(&Reply::Followed(FOLLOWED).to_message()[..20]).unwrap();
        }),
        "in the middle",
    );
}

#[test]
fn a_keyholder_that_says_nothing_is_gone() {
    let (_folder, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let client = RemoteKeyholder::new(&socket).with_timeout(Duration::from_millis(30));
    gone(client.followed(&STORE), "says nothing within 30ms");
    drop(listener.accept().unwrap());
    let silent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        greet(&mut stream);
        hear(&mut stream);
        stream.write_all(&Reply::Followed(FOLLOWED).to_message()[..20]).unwrap();
        let _ = stream.read(&mut [0]);
    });
    gone(client.followed(&STORE), "says nothing within 30ms");
    silent.join().unwrap();
}

#[test]
fn an_answer_that_is_none_is_not_understood() {
    not_understood(asked_once(|mut stream| stream.write_all(b"HTTP/1.1 400 Bad").unwrap()), "does not greet");
    not_understood(
        asked_once(|mut stream| stream.write_all(b"OMNIKEEP\x02\0\0\0").unwrap()),
        "another version",
    );
    not_understood(asked_once(|stream| reply_with(stream, &[0xff; 64])), "longer than one may be");
    not_understood(asked_once(|stream| reply_with(stream, &[0; 64])), "or empty");
    not_understood(asked_once(|stream| reply_with(stream, &[1, 0, 0, 0, 99])), "no kind that is known");
    not_understood(asked_once(|stream| reply_with(stream, &[2, 0, 0, 0, 131, 0])), "within a field");
    not_understood(asked_once(|stream| reply_with(stream, &Reply::TakenIn.to_message())), "another question");
    let what = asked_once(|stream| {
        reply_with(stream, &Reply::NotUnderstood("what?".to_owned()).to_message());
    });
    not_understood(what, "does not understand the question: what?");
}

#[test]
fn a_kept_connection_that_is_dead_is_replaced_once_and_a_new_one_is_not() {
    let (_folder, socket) = place();
    let client = RemoteKeyholder::new(&socket).with_timeout(LONG);
    // Answers one question and hangs up, twice; then only hangs up, and is asked no third time.
    let server = stand_in(&socket, [answer, answer, drop as fn(_)]);
    assert_eq!(client.followed(&STORE).unwrap(), FOLLOWED);
    assert_eq!(client.followed(&STORE).unwrap(), FOLLOWED);
    gone(client.followed(&STORE), "hung up");
    server.join().unwrap();
    std::fs::remove_file(&socket).unwrap();
    gone(client.followed(&STORE), "no such socket");
    // Started anew.
    let server = stand_in(&socket, [answer as fn(_)]);
    assert_eq!(client.followed(&STORE).unwrap(), FOLLOWED);
    server.join().unwrap();
}

#[test]
fn a_connection_is_kept_for_the_next_question() {
    let (_folder, socket) = place();
    let client = RemoteKeyholder::new(&socket).with_timeout(LONG);
    let twice = |mut stream: UnixStream| {
        greet(&mut stream);
        for _ in 0..2 {
            hear(&mut stream);
            stream.write_all(&Reply::Followed(FOLLOWED).to_message()).unwrap();
        }
    };
    let server = stand_in(&socket, [twice as fn(_)]);
    assert_eq!(client.followed(&STORE).unwrap(), FOLLOWED);
    assert_eq!(client.followed(&STORE).unwrap(), FOLLOWED);
    server.join().unwrap();
}

#[test]
fn more_than_a_message_holds_is_not_even_asked() {
    let client = RemoteKeyholder::new("/nonexistent");
    let forgotten = vec![[0; 32]; wire::MAX_MESSAGE_BYTES / 32 + 1];
    let step = Step { from: 0, to: 1, admitted: &[], forgotten: &forgotten };
    let told = client.follow(&STORE, step);
    assert!(matches!(told, Err(KeyholderError::TooMany { .. })), "{told:?}");
}

/// Keys in custody, behind a socket.
struct Served {
    stop: Stop,
    thread: Option<JoinHandle<Result<(), KeyholderError>>>,
}

impl Served {
    fn start(socket: &Path, custody: Custody, options: ServerOptions) -> Self {
        let server = Server::bind(socket, Arc::new(custody), options).unwrap();
        Self { stop: server.stop(), thread: Some(thread::spawn(|| server.serve())) }
    }

    fn end(mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn custody(folder: &TempDir, name: &str, key: &Identity, config: CustodyConfig) -> Custody {
    let file = folder.path().join("key");
    if !file.exists() {
        key.write_new(&file).unwrap();
    }
    let key = Identity::load(&file).unwrap();
    Custody::open(&folder.path().join(name), vec![key], config).unwrap()
}

/// Of a few directions in the plane, each of another memory.
fn memories(key: &Identity, count: u8) -> Vec<EncryptedSignature> {
    let sealer = Sealer::new(key.recipient());
    let angle = |number: u8| f32::from(number) * 0.2;
    let of = |number| sealer.encrypt_signature([number; 32], &[angle(number).cos(), angle(number).sin()]);
    (0..count).map(|number| of(number).unwrap()).collect()
}

fn direction(angle: f32) -> Query {
    Query::new(&[angle.cos(), angle.sin()]).unwrap()
}

/// What is told, without the time that passes between two questions.
fn told<T: std::fmt::Debug>(result: &Result<T, KeyholderError>) -> String {
    let told = format!("{result:?}");
    let mut parts = told.split("again_in: ");
    let before = parts.next().unwrap_or_default().to_owned();
    parts.fold(before, |before, part| before + part.trim_start_matches(|c: char| c.is_numeric() || c == '.'))
}

#[test]
fn a_keyholder_behind_a_socket_answers_as_one_in_this_process() {
    let (folder, socket) = place();
    let key = Identity::generate();
    let small = CustodyConfig {
        budget: BudgetConfig {
            caller: Allowance { capacity: 400, per_day: 1 },
            price_of_sum: 16,
            ..BudgetConfig::default()
        },
        most_signatures: 24,
        ..CustodyConfig::default()
    };
    let here = LocalKeyholder::of(custody(&folder, "here", &key, small.clone()));
    let _served = Served::start(&socket, custody(&folder, "there", &key, small), ServerOptions::default());
    let there = RemoteKeyholder::new(&socket).with_timeout(LONG);
    let both: [&dyn Keyholder; 2] = [&here, &there];

    let mine = memories(&key, 10);
    let of_another = memories(&Identity::generate(), 1);
    let cut_short = memories(&key, 2);
    let mixed = [&mine[..3], &of_another, &cut_short[..1]].concat();
    let same = |ask: &dyn Fn(&dyn Keyholder) -> String| {
        let [here, there] = both.map(ask);
        assert_eq!(here, there);
        there
    };
    let answers = same(&|one| told(&one.influence(&direction(0.0), &mixed)));
    assert!(answers.contains("AtLeast(0.75)") && answers.contains("Unusable"), "{answers}");
    assert_eq!(same(&|one| told(&one.influence(&direction(0.0), &[]))), "Ok([])");
    same(&|one| told(&one.influence(&Query::new(&[1.0, 1.0, 1.0]).unwrap(), &mine[..2])));
    assert!(same(&|one| told(&one.influence_of_set(&direction(0.1), &mine[..4]))).contains("members: 4"));
    assert!(same(&|one| told(&one.influence_of_set(&direction(0.1), &[]))).contains("Nothing"));
    let twice = [&mine[..1], &mine[..1]].concat();
    assert!(same(&|one| told(&one.influence_of_set(&direction(0.1), &twice))).contains("Twice"));
    let many = memories(&key, 25);
    assert!(same(&|one| told(&one.influence_of_set(&direction(0.1), &many))).contains("TooMany"));

    assert_eq!(same(&|one| told(&one.followed(&STORE))), "Ok(Followed { position: 0, members: 0 })");
    let step = Step { from: 0, to: 5, admitted: &mine, forgotten: &[] };
    assert_eq!(same(&|one| told(&one.follow(&STORE, step))), "Ok(())");
    assert_eq!(same(&|one| told(&one.followed(&STORE))), "Ok(Followed { position: 5, members: 10 })");
    let beside = Step { from: 7, to: 8, ..step };
    assert!(same(&|one| told(&one.follow(&STORE, beside))).contains("OutOfStep"));
    let forgotten = Step { from: 5, to: 6, admitted: &[], forgotten: &[[99; 32]] };
    assert_eq!(same(&|one| told(&one.follow(&STORE, forgotten))), "Ok(())");
    assert!(same(&|one| told(&one.influence_of_all(&direction(0.3), &STORE))).contains("members: 10"));
    same(&|one| told(&one.influence_of_all(&direction(0.3), &[1; 32])));

    let [here, there] = both.map(|one| one.status().unwrap());
    assert_eq!((&here.public_key, &here.levels), (&there.public_key, &there.levels));
    assert_eq!((here.memories_asked, here.members), (there.memories_asked, there.members));
    assert_eq!(there.public_key, key.recipient().to_string());

    let mut last = String::new();
    for number in 0..60u8 {
        last = same(&|one| told(&one.influence(&direction(2.0 + f32::from(number) * 0.01), &mine[9..])));
    }
    assert!(last.contains("OverBudget"), "{last}");
}

#[test]
fn more_than_a_keyholder_takes_at_once_is_asked_in_portions() {
    let (folder, socket) = place();
    let key = Identity::generate();
    let small = CustodyConfig { most_signatures: 3, ..CustodyConfig::default() };
    let _served = Served::start(&socket, custody(&folder, "c", &key, small), ServerOptions::default());
    let there = RemoteKeyholder::new(&socket).with_timeout(LONG);
    let here = LocalKeyholder::of(custody(&folder, "here", &key, CustodyConfig::default()));
    let mine = memories(&key, 10);
    for count in [10, 3, 4, 1] {
        let answers = there.influence(&direction(0.5), &mine[..count]).unwrap();
        assert_eq!(answers, here.influence(&direction(0.5), &mine[..count]).unwrap());
    }
    let set = there.influence_of_set(&direction(0.5), &mine);
    assert!(matches!(set, Err(KeyholderError::TooMany { asked: 10, most: 3 })), "{set:?}");
}

#[test]
fn a_client_does_not_mind_that_the_server_was_started_anew() {
    let (folder, socket) = place();
    let key = Identity::generate();
    let mine = memories(&key, 3);
    let client = RemoteKeyholder::new(&socket).with_timeout(LONG);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let again = custody(&folder, "c", &key, CustodyConfig::default());
        let served = Served::start(&socket, again, ServerOptions::default());
        answers.push(client.influence(&direction(0.0), &mine).unwrap());
        served.end();
        gone(client.followed(&STORE), "");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer[0] == Answer::AtLeast(0.75)));
}

#[test]
fn a_hundred_clients_are_answered_at_once() {
    let (folder, socket) = place();
    let key = Identity::generate();
    let _served = Served::start(
        &socket,
        custody(&folder, "c", &key, CustodyConfig::default()),
        ServerOptions::default(),
    );
    let mine = memories(&key, 4);
    thread::scope(|scope| {
        let ask =
            || RemoteKeyholder::new(&socket).with_timeout(LONG).influence(&direction(0.0), &mine).unwrap();
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        for client in clients {
            assert_eq!(client.join().unwrap()[0], Answer::AtLeast(0.75));
        }
    });
}

#[test]
fn who_is_not_on_the_list_is_told_so_and_gets_nothing_else() {
    let (folder, socket) = place();
    let key = Identity::generate();
    let only = ServerOptions::only(vec![u32::MAX - 1]);
    let _served = Served::start(&socket, custody(&folder, "c", &key, CustodyConfig::default()), only);
    let client = RemoteKeyholder::new(&socket).with_timeout(LONG);
    let mine = memories(&key, 1);
    for result in [
        told(&client.influence(&direction(0.0), &mine)),
        told(&client.influence_of_set(&direction(0.0), &mine)),
        told(&client.followed(&STORE)),
        told(&client.status()),
    ] {
        assert!(result.starts_with("Err(NotAllowed"), "{result}");
    }
}

#[test]
fn a_socket_and_a_folder_are_served_once() {
    let (folder, socket) = place();
    let key = Identity::generate();
    let _served = Served::start(
        &socket,
        custody(&folder, "c", &key, CustodyConfig::default()),
        ServerOptions::default(),
    );
    let second = custody(&folder, "d", &key, CustodyConfig::default());
    let told = Server::bind(&socket, Arc::new(second), ServerOptions::default());
    assert!(matches!(told, Err(KeyholderError::Served { .. })), "{told:?}");
    let client = RemoteKeyholder::new(&socket).with_timeout(LONG);
    assert_eq!(client.followed(&STORE).unwrap(), Followed::default());
}

#[test]
fn a_query_too_long_for_a_unit_vector_is_refused_by_the_server_and_not_only_by_the_client() {
    let (folder, socket) = place();
    let key = Identity::generate();
    let _served = Served::start(
        &socket,
        custody(&folder, "c", &key, CustodyConfig::default()),
        ServerOptions::default(),
    );
    let mut message = wire::Request::influence(&direction(0.0), &memories(&key, 1));
    message[9..13].copy_from_slice(&[0xff, 0x7f, 0xff, 0x7f]);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    greet(&mut stream);
    stream.write_all(&message).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut reply).unwrap();
    let reply = Reply::from_bytes(&reply).unwrap();
    assert!(matches!(reply, Reply::No(KeyholderError::Question(InfluenceError::TooLong))), "{reply:?}");
}
