use std::{
    io::{Read, Write},
    sync::{Barrier, Mutex, mpsc},
};

use tempfile::TempDir;

use super::*;
use crate::{
    Identity, Sealer,
    influence::Query,
    keyholder::{Followed, Keyholder, RemoteKeyholder, Status, StoreId, SumAnswer},
};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_mins(1);
const STORE: StoreId = [3; 32];

/// Says of a memory its place in the question, and does what the store is named after.
#[derive(Debug, Default)]
struct StandIn {
    notes: Mutex<Vec<Deed>>,
    /// Two meet here: a question that is being answered, and who waits for that.
    meeting: Option<Barrier>,
}

impl Desk for StandIn {
    fn influence(
        &self,
        _: Caller,
        _: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<Vec<Answer>, KeyholderError> {
        Ok((0..signatures.len()).map(|at| Answer::AtLeast(at as f32)).collect())
    }

    fn influence_of_set(
        &self,
        _: Caller,
        _: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<SumAnswer, KeyholderError> {
        Ok(SumAnswer { sum: 0.0, members: signatures.len() as u64 })
    }

    fn influence_of_all(&self, _: Caller, _: &Query, _: &StoreId) -> Result<SumAnswer, KeyholderError> {
        Err(KeyholderError::Refused(Refusal::OverBudget { again_in: LONG }))
    }

    fn followed(&self, store: &StoreId) -> Result<Followed, KeyholderError> {
        match &self.meeting {
            Some(meeting) => {
                meeting.wait();
                meeting.wait();
            }
            None => assert_eq!(*store, STORE, "another store"),
        }
        Ok(Followed { position: 1, members: 2 })
    }

    fn follow(&self, _: Caller, _: &StoreId, step: Step<'_>) -> Result<(), KeyholderError> {
        Err(KeyholderError::OutOfStep { position: step.admitted.len() as u64, from: step.from })
    }

    fn status(&self) -> Result<Status, KeyholderError> {
        Err(KeyholderError::Config { reason: "a stand-in has none".to_owned() })
    }

    fn note(&self, _: Caller, deed: Deed) -> Result<(), KeyholderError> {
        self.notes.lock().unwrap().push(deed);
        Ok(())
    }
}

/// A server in a thread, stopped at the end.
struct Running {
    folder: TempDir,
    stop: Stop,
    thread: Option<thread::JoinHandle<Result<(), KeyholderError>>>,
    desk: Arc<StandIn>,
}

impl Running {
    fn start(options: ServerOptions, desk: StandIn) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Arc::new(desk);
        let server = Server::bind_desk(&folder.path().join("k"), Arc::clone(&desk) as _, options).unwrap();
        let stop = server.stop();
        Self { folder, stop, thread: Some(thread::spawn(|| server.serve())), desk }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("k")
    }

    fn client(&self) -> RemoteKeyholder {
        RemoteKeyholder::new(self.socket()).with_timeout(LONG)
    }

    /// A connection that was greeted, and goes on as it likes.
    fn raw(&self) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(&wire::greeting()).unwrap();
        let mut greeting = [0; wire::GREETING_BYTES];
        stream.read_exact(&mut greeting).unwrap();
        stream
    }

    fn end(&mut self) -> Result<(), KeyholderError> {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn signatures(count: u8) -> Vec<EncryptedSignature> {
    let sealer = Sealer::new(Identity::generate().recipient());
    (0..count).map(|number| sealer.encrypt_signature([number; 32], &[0.6, 0.8]).unwrap()).collect()
}

/// The reply to a whole message that was sent already.
fn reply(stream: &mut UnixStream) -> Reply {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut content = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut content).unwrap();
    Reply::from_bytes(&content).unwrap()
}

fn hung_up(stream: &mut UnixStream) -> bool {
    stream.read(&mut [0]).is_ok_and(|read| read == 0)
}

#[test]
fn signatures_that_cannot_be_used_are_refused_where_they_stood() {
    let running = Running::start(ServerOptions::default(), StandIn::default());
    let query = Query::new(&[1.0, 0.0]).unwrap();
    let signatures = signatures(5);
    let mut message = Request::influence(&query, &signatures);
    for spoiled in [0, 3] {
        let bytes = signatures[spoiled].to_bytes();
        let at = message.windows(bytes.len()).position(|window| window == bytes).unwrap();
        message[at] ^= 1;
    }
    let mut stream = running.raw();
    stream.write_all(&message).unwrap();
    let Reply::Influence(answers) = reply(&mut stream) else { panic!() };
    let of = |at: usize| match &answers[at] {
        Answer::AtLeast(level) => Some(*level),
        Answer::Refused(Refusal::Unusable { .. }) => None,
        Answer::Refused(other) => panic!("{other:?}"),
    };
    assert_eq!((0..5).map(of).collect::<Vec<_>>(), [None, Some(0.0), Some(1.0), None, Some(2.0)]);
    message[4] = 2; // of a set
    stream.write_all(&message).unwrap();
    let refused = reply(&mut stream);
    assert!(matches!(refused, Reply::No(KeyholderError::Refused(Refusal::Unusable { .. }))), "{refused:?}");
}

#[test]
fn a_question_that_brings_one_connection_down_leaves_the_server_as_it_is() {
    let running = Running::start(ServerOptions::default(), StandIn::default());
    let client = running.client();
    assert!(client.followed(&STORE).is_ok());
    assert!(matches!(client.followed(&[0; 32]), Err(KeyholderError::Gone { .. })));
    assert!(client.followed(&STORE).is_ok());
}

#[test]
fn what_is_no_message_is_told_and_the_connection_closed() {
    let running = Running::start(ServerOptions::default(), StandIn::default());
    let too_long = (wire::MAX_MESSAGE_BYTES as u32 + 1).to_le_bytes();
    for bytes in [
        &too_long[..],
        &[0; 4],
        &[1, 0, 0, 0, 77],
        &[2, 0, 0, 0, 6, 0],
        &[9, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let mut stream = running.raw();
        stream.write_all(bytes).unwrap();
        let told = reply(&mut stream);
        assert!(matches!(told, Reply::NotUnderstood(_) | Reply::No(KeyholderError::Question(_))), "{told:?}");
        assert!(matches!(told, Reply::No(_)) || hung_up(&mut stream));
    }
    let mut stream = UnixStream::connect(running.socket()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert_eq!(said, wire::greeting());
}

#[test]
fn whoever_is_slow_or_silent_is_left_and_holds_up_nobody() {
    let options = ServerOptions { request_timeout: SHORT, idle_timeout: SHORT, ..ServerOptions::default() };
    let running = Running::start(options, StandIn::default());
    let mut silent = UnixStream::connect(running.socket()).unwrap();
    let mut half = running.raw();
    half.write_all(&[33, 0, 0, 0, 4]).unwrap();
    let mut idle = running.raw();
    idle.write_all(&Request::followed(&STORE)).unwrap();
    assert!(matches!(reply(&mut idle), Reply::Followed(_)));
    assert!(running.client().followed(&STORE).is_ok());
    assert!(hung_up(&mut half) && hung_up(&mut idle));
    let mut said = Vec::new();
    silent.read_to_end(&mut said).unwrap();
    assert_eq!(said, wire::greeting());
}

#[test]
fn a_server_whose_seats_are_taken_sends_away_the_silent_and_not_who_waits() {
    let options = ServerOptions { most_connections: 2, ..ServerOptions::default() };
    let desk = StandIn { meeting: Some(Barrier::new(2)), ..StandIn::default() };
    let running = Running::start(options, desk);
    thread::scope(|scope| {
        let waits = scope.spawn(|| running.client().followed(&STORE));
        running.desk.meeting.as_ref().unwrap().wait();
        let mut idle = running.raw();
        idle.write_all(&Request::status()).unwrap();
        assert!(matches!(reply(&mut idle), Reply::No(_)));
        // The third. Who waits is here for longer, and stays.
        assert!(matches!(running.client().status(), Err(KeyholderError::Failed { .. })));
        assert!(hung_up(&mut idle));
        running.desk.meeting.as_ref().unwrap().wait();
        assert!(waits.join().unwrap().is_ok());
    });
}

#[test]
fn more_clients_than_seats_are_all_answered() {
    let options = ServerOptions { most_connections: 8, ..ServerOptions::default() };
    let running = Running::start(options, StandIn::default());
    let (query, signatures) = (Query::new(&[1.0, 0.0]).unwrap(), signatures(2));
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let client = running.client();
                for _ in 0..5 {
                    let answers = client.influence(&query, &signatures).unwrap();
                    assert_eq!(answers, [Answer::AtLeast(0.0), Answer::AtLeast(1.0)]);
                }
            });
        }
    });
}

#[test]
fn a_stopped_server_answers_what_was_asked_and_removes_its_socket() {
    let desk = StandIn { meeting: Some(Barrier::new(2)), ..StandIn::default() };
    let mut running = Running::start(ServerOptions::default(), desk);
    let mut silent = running.raw();
    let (client, desk, stop) = (running.client(), Arc::clone(&running.desk), running.stop.clone());
    let asked = thread::spawn(move || client.followed(&STORE));
    desk.meeting.as_ref().unwrap().wait();
    stop.stop();
    assert!(hung_up(&mut silent));
    assert!(!running.socket().exists());
    desk.meeting.as_ref().unwrap().wait();
    assert_eq!(asked.join().unwrap().unwrap(), Followed { position: 1, members: 2 });
    running.end().unwrap();
    assert_eq!(*desk.notes.lock().unwrap(), [Deed::Served, Deed::Stopped]);
    assert!(matches!(running.client().status(), Err(KeyholderError::Gone { .. })));
}

#[test]
fn who_may_not_ask_is_told_so_and_noted() {
    let mut running = Running::start(ServerOptions::only(vec![u32::MAX - 1]), StandIn::default());
    let own = nix::unistd::geteuid().as_raw();
    let (query, signatures) = (Query::new(&[1.0, 0.0]).unwrap(), signatures(200));
    for _ in 0..20 {
        let told = running.client().influence(&query, &signatures);
        assert!(matches!(told, Err(KeyholderError::NotAllowed { uid }) if uid == own), "{told:?}");
    }
    running.end().unwrap();
    let notes = running.desk.notes.lock().unwrap();
    let [Deed::Served, tries @ .., Deed::Stopped] = &notes[..] else { panic!("{notes:?}") };
    assert!(tries.len() == 20 && tries.iter().all(|deed| matches!(deed, Deed::Refused { .. })), "{tries:?}");
}

#[test]
fn a_place_is_taken_once_and_a_left_over_socket_is_no_server() {
    let mut running = Running::start(ServerOptions::default(), StandIn::default());
    let socket = running.socket();
    let bind = || Server::bind_desk(&socket, Arc::new(StandIn::default()), ServerOptions::default());
    assert!(matches!(bind(), Err(KeyholderError::Served { .. })));
    assert!(running.client().followed(&STORE).is_ok(), "the first one is not disturbed");
    running.end().unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    assert!(UnixStream::connect(&socket).is_err());
    drop(bind().unwrap());
    assert!(!socket.exists());
    // Somebody who listens there, and knows nothing of locks.
    let other = UnixListener::bind(&socket).unwrap();
    assert!(matches!(bind(), Err(KeyholderError::Served { .. })));
    drop(other);
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "a diary").unwrap();
    assert!(matches!(bind(), Err(KeyholderError::File { .. })));
    assert_eq!(std::fs::read(&socket).unwrap(), b"a diary");
}

#[test]
fn a_folder_that_is_made_is_for_its_owner_alone_and_a_socket_for_whom_it_serves() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("a/b/k");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (options, expected) in [(ServerOptions::default(), 0o600), (ServerOptions::only(vec![1]), 0o666)] {
        let _server = Server::bind_desk(&socket, Arc::new(StandIn::default()), options).unwrap();
        assert_eq!(mode(&socket), expected);
        assert_eq!([mode(&folder.path().join("a")), mode(&folder.path().join("a/b"))], [0o700; 2]);
    }
}

#[test]
fn many_threads_share_one_client() {
    let running = Running::start(ServerOptions::default(), StandIn::default());
    let client = running.client();
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..16 {
            let (client, send) = (&client, send.clone());
            scope.spawn(move || (0..50).for_each(|_| send.send(client.followed(&STORE).unwrap()).unwrap()));
        }
    });
    drop(send);
    assert_eq!(receive.iter().filter(|followed| followed.members == 2).count(), 800);
}
