//! Sealing and opening (R19): what comes back, and what is said when something is wrong.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::io::{self, Read, Write};
use std::sync::LazyLock;

use encrypted_unconscious::{Error, Identity, Result, Sealer};
use proptest::prelude::*;

const CHUNK: usize = 64 * 1024;

static KEYHOLDER: LazyLock<Identity> = LazyLock::new(Identity::generate);

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut writer = Sealer::new(KEYHOLDER.recipient()).seal(Vec::new()).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

/// Everything that could be read, and how it ended.
fn open(sealed: &[u8]) -> (Vec<u8>, Result<()>) {
    let mut plain = Vec::new();
    let ended = KEYHOLDER
        .open(sealed)
        .and_then(|mut reader| reader.read_to_end(&mut plain).map(drop).map_err(Error::from));
    (plain, ended)
}

/// Where the first chunk begins: after the line that authenticates the beginning, and 16 random bytes.
fn first_chunk(sealed: &[u8]) -> usize {
    let line = sealed.windows(5).position(|window| window == b"\n--- ").unwrap() + 1;
    line + sealed[line..].iter().position(|&byte| byte == b'\n').unwrap() + 1 + 16
}

#[test]
fn what_was_sealed_is_opened_at_every_size_around_the_chunks() {
    // R19
    for size in [
        0,
        1,
        15,
        16,
        17,
        1000,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        2 * CHUNK - 1,
        2 * CHUNK,
        2 * CHUNK + 1,
        3 << 20,
    ] {
        let plain = pattern(size);
        let sealed = seal(&plain);
        assert!(sealed.len() - size < 700 + 16 * (size / CHUNK + 1), "{size}: {} bytes", sealed.len());
        let (opened, ended) = open(&sealed);
        ended.unwrap();
        assert!(opened == plain, "{size}");
    }
}

#[test]
fn nothing_of_the_plaintext_shows_and_no_two_seals_are_alike() {
    let plain = b"a name that nobody should read".repeat(100);
    let (one, other) = (seal(&plain), seal(&plain));
    assert_ne!(one[first_chunk(&one)..], other[first_chunk(&other)..]);
    assert!(!one.windows(20).any(|window| plain.windows(20).next() == Some(window)));
    assert!(!String::from_utf8_lossy(&one).contains(&KEYHOLDER.recipient().to_string()));
}

#[test]
fn many_megabytes_are_sealed_and_opened_as_a_stream() {
    /// Counts what it is given, and compares it with what should come.
    struct Expect {
        at: u64,
    }
    impl Write for Expect {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            assert!(data.iter().all(|&byte| byte == 0x5a));
            self.at += data.len() as u64;
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    const BYTES: u64 = 48 << 20;
    let mut writer = Sealer::new(KEYHOLDER.recipient()).seal(Vec::new()).unwrap();
    io::copy(&mut io::repeat(0x5a).take(BYTES), &mut writer).unwrap();
    let sealed = writer.finish().unwrap();
    let mut expect = Expect { at: 0 };
    io::copy(&mut KEYHOLDER.open(&sealed[..]).unwrap(), &mut expect).unwrap();
    assert_eq!(expect.at, BYTES);
}

#[test]
fn another_keyholder_cannot_open_it_and_is_told_why() {
    // R19
    let sealed = seal(b"secret");
    let error = Identity::generate().open(&sealed[..]).unwrap_err();
    assert!(matches!(error, Error::WrongKey), "{error}");
    assert!(!error.is_damage());
}

#[test]
fn what_was_never_sealed_is_called_so() {
    let armoured = b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n";
    let endless = [&b"age-encryption.org/v1\n"[..], &b"-> X25519 aaaa\naaaa\n".repeat(10_000)].concat();
    let one_line = [&b"age-encryption.org/v1\n-> "[..], &vec![b'a'; 100_000]].concat();
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"hello, world, this is not sealed", "does not begin"),
        (&[0; 1000], "does not begin"),
        (armoured, "armour"),
        (b"age-encryption.org/v2\n-> X25519 a\n", "not v1"),
        (b"age-encryption.org/v1\n--- AAAA\nAAAAAAAAAAAAAAAAAAAAAAAAA", "beginning"),
        (&endless, "beginning"),
        (&one_line, "far longer"),
    ] {
        match KEYHOLDER.open(bytes) {
            Err(error @ Error::NotSealed { .. }) => assert!(error.to_string().contains(words), "{error}"),
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[test]
fn a_beginning_that_never_ends_is_not_read_for_ever() {
    /// Gives the same bytes again and again.
    struct Endless<'a>(&'a [u8], u64);
    impl Read for Endless<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            for (at, byte) in out.iter_mut().enumerate() {
                *byte = self.0[(self.1 as usize + at) % self.0.len()];
            }
            self.1 += out.len() as u64;
            assert!(self.1 < 1 << 20, "it reads on and on");
            Ok(out.len())
        }
    }
    for line in [&b"-> X25519 aaaa\naaaa\n"[..], b"\n", b"-> a\n", b"a", b"---\n", b"--- \n", b"--- AAAA"] {
        let endless = Endless(line, 0);
        let opened = KEYHOLDER.open((&b"age-encryption.org/v1\n"[..]).chain(endless));
        assert!(matches!(opened, Err(Error::NotSealed { .. })), "{opened:?}");
    }
}

#[test]
fn what_was_sealed_with_a_passphrase_is_called_so() {
    let passphrase = age::secrecy::SecretString::from("open sesame".to_owned());
    let mut recipient = age::scrypt::Recipient::new(passphrase);
    recipient.set_work_factor(2);
    let sealed = age::encrypt(&recipient, b"hello").unwrap();
    let error = KEYHOLDER.open(&sealed[..]).unwrap_err();
    assert!(error.to_string().contains("passphrase"), "{error}");
}

#[test]
fn every_cut_is_noticed() {
    let plain = pattern(40);
    let sealed = seal(&plain);
    let first = first_chunk(&sealed);
    for cut in 1..sealed.len() {
        let (opened, ended) = open(&sealed[..cut]);
        assert!(opened.is_empty());
        let error = ended.unwrap_err();
        if cut <= first {
            assert!(matches!(error, Error::Truncated { at_byte } if at_byte == cut as u64), "{cut}: {error}");
        } else {
            assert!(matches!(error, Error::Damaged { at_end: true, .. }), "{cut}: {error}");
            assert!(error.to_string().contains("the end is missing"), "{error}");
        }
        assert!(error.is_damage());
    }
}

#[test]
fn a_cut_between_two_chunks_is_noticed_and_what_came_before_is_right() {
    let plain = pattern(3 * CHUNK + 5);
    let sealed = seal(&plain);
    let first = first_chunk(&sealed);
    for chunks in 0..=3 {
        let cut = first + chunks * (CHUNK + 16);
        let (opened, ended) = open(&sealed[..cut]);
        assert!(opened == plain[..chunks * CHUNK]);
        let error = ended.unwrap_err();
        assert!(matches!(error, Error::Truncated { at_byte } if at_byte == cut as u64), "{error}");
    }
}

#[test]
fn a_changed_byte_is_noticed_where_it_is_and_nothing_of_its_chunk_is_returned() {
    let plain = pattern(3 * CHUNK + 5);
    let sealed = seal(&plain);
    let first = first_chunk(&sealed);
    for (at, chunk) in
        [(0, 0), (CHUNK + 15, 0), (CHUNK + 16, 1), (2 * (CHUNK + 16) + 99, 2), (3 * (CHUNK + 16), 3)]
    {
        let mut changed = sealed.clone();
        changed[first + at] ^= 1;
        let (opened, ended) = open(&changed);
        assert!(opened == plain[..chunk * CHUNK], "{at}");
        let byte = (first + at) as u64;
        match ended.unwrap_err() {
            Error::Damaged { from_byte, to_byte, at_end } => {
                assert!(from_byte <= byte && byte < to_byte, "{from_byte} {byte} {to_byte}");
                assert_eq!(at_end, chunk == 3);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn chunks_that_were_swapped_doubled_or_added_are_noticed() {
    let plain = pattern(2 * CHUNK + 5);
    let sealed = seal(&plain);
    let first = first_chunk(&sealed);
    let (one, two) = (first..first + CHUNK + 16, first + CHUNK + 16..first + 2 * (CHUNK + 16));
    let swapped = [&sealed[..first], &sealed[two.clone()], &sealed[one.clone()], &sealed[two.end..]].concat();
    let doubled = [&sealed[..one.end], &sealed[one.clone()], &sealed[two.start..]].concat();
    let longer = [&sealed[..], b"more"].concat();
    for forged in [swapped, doubled, longer] {
        let (opened, ended) = open(&forged);
        assert!(plain.starts_with(&opened));
        assert!(matches!(ended.unwrap_err(), Error::Damaged { .. }));
    }
    let exact = seal(&pattern(CHUNK));
    assert!(matches!(open(&[&exact[..], b"more"].concat()).1.unwrap_err(), Error::Damaged { .. }));
}

#[test]
fn after_a_failure_every_read_fails_the_same_way() {
    let mut sealed = seal(&pattern(10));
    *sealed.last_mut().unwrap() ^= 1;
    let mut reader = KEYHOLDER.open(&sealed[..]).unwrap();
    let messages: Vec<_> = (0..3).map(|_| reader.read(&mut [0; 4]).unwrap_err().to_string()).collect();
    assert!(messages.windows(2).all(|pair| pair[0] == pair[1]), "{messages:?}");
}

#[test]
fn a_seal_that_was_not_finished_cannot_pass_for_a_whole_one() {
    let mut sealed = Vec::new();
    let mut writer = Sealer::new(KEYHOLDER.recipient()).seal(&mut sealed).unwrap();
    writer.write_all(&pattern(CHUNK + 1)).unwrap();
    drop(writer);
    let (opened, ended) = open(&sealed);
    assert!(opened == pattern(CHUNK));
    assert!(matches!(ended.unwrap_err(), Error::Truncated { .. }));
}

#[test]
fn a_full_disk_ends_the_seal_for_good() {
    /// Takes so many bytes and no more.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            if self.0 < data.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= data.len();
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sealer = Sealer::new(KEYHOLDER.recipient());
    assert!(matches!(sealer.seal(Full(10)), Err(Error::Io(_))));
    let mut writer = sealer.seal(Full(CHUNK)).unwrap();
    let error = writer.write_all(&pattern(3 * CHUNK)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(matches!(Error::from(writer.write_all(b"more").unwrap_err()), Error::SealingFailed));
    assert!(matches!(writer.finish(), Err(Error::SealingFailed)));
}

#[test]
fn a_failure_of_the_source_is_passed_on_as_it_is() {
    /// Gives what it has, then fails as a store does when it finds damage.
    struct Source(io::Cursor<Vec<u8>>);
    impl Read for Source {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "object ab12 is damaged")),
                count => Ok(count),
            }
        }
    }
    let sealed = seal(&pattern(2 * CHUNK));
    for cut in [5, 100, first_chunk(&sealed), CHUNK, sealed.len()] {
        let source = Source(io::Cursor::new(sealed[..cut].to_vec()));
        let failed = KEYHOLDER
            .open(source)
            .and_then(|mut reader| io::copy(&mut reader, &mut io::sink()).map_err(Error::from));
        match failed {
            Err(Error::Io(error)) => assert_eq!(error.to_string(), "object ab12 is damaged", "{cut}"),
            other => panic!("{cut}: {other:?}"),
        }
    }
}

#[test]
fn age_itself_opens_what_was_sealed_and_seals_what_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    KEYHOLDER.write_new(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let theirs: age::x25519::Identity = text.lines().last().unwrap().parse().unwrap();
    let plain = pattern(CHUNK * 2);
    assert!(age::decrypt(&theirs, &seal(&plain)).unwrap() == plain);
    let (opened, ended) = open(&age::encrypt(&theirs.to_public(), &plain).unwrap());
    ended.unwrap();
    assert!(opened == plain);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_content_in_any_pieces_comes_back(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 0..8)) {
        let mut writer = Sealer::new(KEYHOLDER.recipient()).seal(Vec::new()).unwrap();
        for piece in &pieces {
            writer.write_all(piece).unwrap();
        }
        let sealed = writer.finish().unwrap();
        let (opened, ended) = open(&sealed);
        ended.unwrap();
        prop_assert!(opened == pieces.concat());
    }

    /// R19: whatever is done to the sealed bytes, what is returned is a part of what was sealed, and the end
    /// is never reached.
    #[test]
    fn no_mutation_passes(
        size in prop_oneof![0..200usize, CHUNK - 20..CHUNK + 20, 2 * CHUNK..2 * CHUNK + 3],
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let plain = pattern(size);
        let sealed = seal(&plain);
        let mut changed = sealed.clone();
        for (at, byte) in edits {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        if let Some(cut) = cut {
            changed.truncate(cut.index(changed.len()));
        }
        let (opened, ended) = open(&changed);
        if changed == sealed {
            prop_assert!(ended.is_ok() && opened == plain);
        } else {
            prop_assert!(ended.is_err());
            prop_assert!(plain.starts_with(&opened) && opened.len() % CHUNK == 0);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(start in 0..3usize, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let start = [&b""[..], b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> X25519 "][start];
        prop_assert!(open(&[start, &bytes].concat()).1.is_err());
    }
}
