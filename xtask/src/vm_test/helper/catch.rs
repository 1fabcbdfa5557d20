//! `catch PORT FILE`: a web server inside the machine, for what is posted to it. Each body becomes a line of the file. One
//! connection after the other, each with one request, limited in size and time: it must not hang for whoever hangs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const LONGEST_HEAD: usize = 8 << 10;
const LONGEST_BODY: usize = 16 << 10;
/// For a whole request; under translation everything takes long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a request is not taken, as the status line of the answer has it.
type Refusal = &'static str;
const BAD: Refusal = "400 Bad Request";

/// Listens on this port of the machine itself, until it is killed.
pub(super) fn run(port: u16, file: &Path) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listening")?;
    let caught = OpenOptions::new().append(true).create(true).open(file);
    let mut caught = caught.with_context(|| format!("opening {}", file.display()))?;
    super::ready().context("telling systemd that it listens")?;
    for stream in listener.incoming() {
        // One who leaves in the middle does not end it for the others.
        if let Err(error) = stream.and_then(|stream| answer(stream, &mut caught)) {
            eprintln!("a request failed: {error}");
        }
    }
    Ok(())
}

fn answer(stream: TcpStream, caught: &mut File) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut patient = Patient { stream, until: Instant::now() + PATIENCE };
    let status = match posted(&mut patient)? {
        Ok(mut body) => {
            body.push(b'\n');
            caught.write_all(&body)?;
            "204 No Content"
        }
        Err(refusal) => refusal,
    };
    write!(patient.stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n")
}

/// A connection that is waited for only so long in all.
struct Patient {
    stream: TcpStream,
    until: Instant,
}

impl Read for Patient {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(bytes)
    }
}

/// The body of the one request that is read from here.
fn posted(from: &mut impl Read) -> io::Result<Result<Vec<u8>, Refusal>> {
    let mut said = Vec::new();
    let body_at = loop {
        if let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if said.len() > LONGEST_HEAD {
            return Ok(Err("431 Request Header Fields Too Large"));
        }
        if !more(from, &mut said)? {
            return Ok(Err(BAD));
        }
    };
    let length = match length_of(&said[..body_at]) {
        Ok(length) => length,
        Err(refusal) => return Ok(Err(refusal)),
    };
    while said.len() < body_at + length {
        if !more(from, &mut said)? {
            return Ok(Err(BAD));
        }
    }
    let body = said[body_at..body_at + length].to_vec();
    // Each is to be a line, and JSON has no bare ends of lines.
    Ok(if body.contains(&b'\n') { Err(BAD) } else { Ok(body) })
}

/// Whether more came.
fn more(from: &mut impl Read, said: &mut Vec<u8>) -> io::Result<bool> {
    let mut bytes = [0; 1024];
    let read = from.read(&mut bytes)?;
    said.extend_from_slice(&bytes[..read]);
    Ok(read > 0)
}

/// How long the body is that follows this head.
fn length_of(head: &[u8]) -> Result<usize, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| BAD)?;
    let mut lines = head.split("\r\n");
    let request: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    match request[..] {
        ["POST", _, version] if version.starts_with("HTTP/1.") => {}
        [_, _, version] if version.starts_with("HTTP/1.") => return Err("405 Method Not Allowed"),
        _ => return Err(BAD),
    }
    let fields = lines.filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().ok_or("411 Length Required")?;
    match length.trim().parse() {
        Ok(length) if length <= LONGEST_BODY => Ok(length),
        Ok(_) => Err("413 Content Too Large"),
        Err(_) => Err(BAD),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(said: &str) -> Result<Vec<u8>, Refusal> {
        posted(&mut said.as_bytes()).unwrap()
    }

    #[test]
    fn a_posted_body_is_a_line_of_the_file_and_the_next_is_heard_after_a_bad_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("caught");
        let mut caught = OpenOptions::new().append(true).create(true).open(&file).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ask = |request: &str| {
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        };
        let mut answers = Vec::new();
        for request in [
            "POST /hook HTTP/1.1\r\nContent-Length: 3\r\n\r\n{1}",
            "GET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n{2}more",
        ] {
            let mut stream = ask(request);
            answer(listener.accept().unwrap().0, &mut caught).unwrap();
            let mut said = Vec::new();
            // What was sent and not read makes the end of the connection a reset.
            let _ = stream.read_to_end(&mut said);
            answers.push(String::from_utf8(said).unwrap()[9..12].to_owned());
        }
        assert_eq!(answers, ["204", "405", "204"]);
        assert_eq!(std::fs::read_to_string(file).unwrap(), "{1}\n{2}\n");
    }

    #[test]
    fn what_is_too_long_cut_or_no_request_is_refused() {
        let post =
            |length: &str, body: &str| format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(body(&post("2", "ab")), Ok(b"ab".to_vec()));
        for (said, refusal) in [
            (String::new(), BAD),
            ("hello\r\n\r\n".to_owned(), BAD),
            (post("3", "ab"), BAD),
            (post("3", "a\nb"), BAD),
            (post("-1", ""), BAD),
            (post("16385", ""), "413 Content Too Large"),
            ("POST / HTTP/1.1\r\n\r\n".to_owned(), "411 Length Required"),
            ("x".repeat(LONGEST_HEAD + 1), "431 Request Header Fields Too Large"),
        ] {
            assert_eq!(body(&said), Err(refusal), "{said:.40}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(said: Vec<u8>, length in 0_usize..64) {
            prop_assert!(posted(&mut &said[..]).unwrap().is_err());
            let mut post = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            post.extend(&said);
            let expected = said.get(..length).filter(|body| !body.contains(&b'\n'));
            let body = posted(&mut &post[..]).unwrap().ok();
            prop_assert_eq!(body.as_deref(), expected);
        }
    }
}
