//! Identities behind a passphrase, and one that takes the place of another: nothing is lost on the way.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use encrypted_unconscious::{
    BundleHeader, BundleWriter, Error, Identity, KeyRing, Passphrase, Recipient, Sealer,
};
use proptest::prelude::*;

const NEVER_ASKED: fn() -> io::Result<Passphrase> = || panic!("asked for a passphrase");

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned()).unwrap()
}

fn seal(recipient: &Recipient) -> Vec<u8> {
    let mut writer = Sealer::new(recipient.clone()).seal(Vec::new()).unwrap();
    writer.write_all(b"what happened").unwrap();
    writer.finish().unwrap()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// The secret text of a file, as `age-keygen` writes it.
fn keygen(folder: &Path) -> (Vec<u8>, Recipient) {
    let (identity, path) = (Identity::generate(), folder.join("plain"));
    identity.write_new(&path).unwrap();
    let text = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    ([b"# created: 2026-01-01T00:00:00Z\n".to_vec(), text].concat(), identity.recipient())
}

/// As `age -p` does it, with as much work as wanted.
fn age_p(content: &[u8], secret: &str, work_log2: u8) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(secret));
    recipient.set_work_factor(work_log2);
    encrypt_for(content, &recipient)
}

fn encrypt_for(content: &[u8], recipient: &dyn age::Recipient) -> Vec<u8> {
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient)).unwrap();
    let mut encrypted = Vec::new();
    let mut writer = encryptor.wrap_output(&mut encrypted).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap();
    encrypted
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Opens it, and tells whether it was sealed for the current identity.
fn opens(ring: &KeyRing, sealed: &[u8]) -> bool {
    let mut opened = ring.open(sealed).unwrap();
    let mut plain = Vec::new();
    opened.reader.read_to_end(&mut plain).unwrap();
    assert_eq!(plain, b"what happened");
    assert_eq!(opened.is_current, opened.identity.recipient() == ring.current().recipient());
    opened.is_current
}

#[test]
fn an_identity_behind_a_passphrase_is_written_read_and_decrypted_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let identity = Identity::generate();
    let public = identity.write_pair_with_passphrase(&path, &passphrase("correct horse")).unwrap();
    assert_eq!(Recipient::load(&public).unwrap(), identity.recipient(), "the public key stays readable");
    let content = fs::read(&path).unwrap();
    assert!(content.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert!(!String::from_utf8_lossy(&content).contains("SECRET"));
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o7777,
        0o600
    );

    let error = Identity::load(&path).unwrap_err();
    assert!(matches!(error, Error::PassphraseNeeded { .. }), "{error}");
    assert!(error.to_string().contains("passphrase"));
    let wrong = Identity::load_with(&path, || Ok(passphrase("correct horse "))).unwrap_err();
    assert!(matches!(wrong, Error::WrongPassphrase { .. }), "{wrong}");
    let loaded = Identity::load_with(&path, || Ok(passphrase("correct horse"))).unwrap();
    assert_eq!(loaded.recipient(), identity.recipient());

    // As `age -d` would.
    let decryptor = age::Decryptor::new(&content[..]).unwrap();
    let key = age::scrypt::Identity::new(SecretString::from("correct horse"));
    let mut text = String::new();
    let mut reader = decryptor.decrypt(std::iter::once(&key as &dyn age::Identity)).unwrap();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.starts_with(&format!("# public key: {}\nAGE-SECRET-KEY-1", identity.recipient())));
}

#[test]
fn what_age_p_made_of_a_key_opens_and_a_plain_key_is_not_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let (text, recipient) = keygen(folder.path());
    let path = folder.path().join("key");
    write_private(&path, &age_p(&text, "ä ö", 8));
    assert_eq!(Identity::load_with(&path, || Ok(passphrase("ä ö"))).unwrap().recipient(), recipient);
    let failed = Identity::load_with(&path, || Err(io::Error::other("no terminal"))).unwrap_err();
    assert!(matches!(failed, Error::PassphraseNotGiven { .. }) && failed.to_string().contains("no terminal"));
    write_private(&path, &text);
    assert_eq!(Identity::load_with(&path, NEVER_ASKED).unwrap().recipient(), recipient);
    assert!(matches!(Passphrase::new(String::new()), Err(Error::EmptyPassphrase)));
    assert!(!format!("{:?}", passphrase("hidden")).contains("hidden"));
}

#[test]
fn a_hostile_file_is_refused_for_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = keygen(folder.path());
    let path = folder.path().join("key");
    let whole = age_p(&text, "p", 4);
    let with_work = |work: &str| {
        let at = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let line = at + whole[at..].iter().position(|&byte| byte == b'\n').unwrap();
        let start = whole[..line].iter().rposition(|&byte| byte == b' ').unwrap() + 1;
        [&whole[..start], work.as_bytes(), &whole[line..]].concat()
    };
    for (content, words) in [
        (with_work("21"), "2^20"),
        (with_work("63"), "2^20"),
        (with_work("255"), "2^20"),
        (with_work("0"), ""),
        (with_work("x"), "changed"),
        (whole[..40].to_vec(), "changed"),
        (whole[..whole.len() - 1].to_vec(), "changed"),
        (encrypt_for(&text, &age::x25519::Identity::generate().to_public()), "another key"),
        (age_p(b"not a key", "p", 4), "X25519"),
        (age_p(&[0xff; 300], "p", 4), "text"),
        (age_p(&vec![b'a'; 63 << 10], "p", 4), "X25519"),
    ] {
        write_private(&path, &content);
        let error = Identity::load_with(&path, || Ok(passphrase("p"))).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

proptest! {
    #[test]
    fn no_byte_of_a_protected_file_can_be_changed_unnoticed(at: prop::sample::Index, bit in 0u8..8) {
        let folder = tempfile::tempdir().unwrap();
        let (text, _) = keygen(folder.path());
        let path = folder.path().join("key");
        // A digit of the work could become one that takes seconds, so there is but one, and little of it.
        let mut content = age_p(&text, "p", 1);
        let at = at.index(content.len());
        content[at] ^= 1 << bit;
        write_private(&path, &content);
        prop_assert!(Identity::load_with(&path, || Ok(passphrase("p"))).is_err());
    }
}

/// What there is before, and what a rotation has done when it was killed after `step`.
struct Interrupted {
    folder: tempfile::TempDir,
    old: Vec<u8>,
    new: Recipient,
}

impl Interrupted {
    fn after(step: usize, retired_by_copy: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let (old, new) = (Identity::generate(), Identity::generate());
        old.write_pair(&path).unwrap();
        let state = Self { old: seal(&old.recipient()), new: new.recipient(), folder };
        let steps: [&dyn Fn(); 5] = [
            &|| new.write_new(beside(&path, ".next")).unwrap(),
            &|| {
                if retired_by_copy {
                    write_private(&beside(&path, ".retired.1"), &fs::read(&path).unwrap());
                } else {
                    fs::hard_link(&path, beside(&path, ".retired.1")).unwrap();
                }
            },
            &|| new.recipient().write_new(beside(&path, ".pub.next")).unwrap(),
            &|| fs::rename(beside(&path, ".next"), &path).unwrap(),
            &|| fs::rename(beside(&path, ".pub.next"), beside(&path, ".pub")).unwrap(),
        ];
        steps[..step].iter().for_each(|step| step());
        state
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn ring(&self) -> KeyRing {
        KeyRing::load(self.path(), NEVER_ASKED).unwrap()
    }

    /// Everything opens, and what is published can be opened with.
    fn loses_nothing(&self) {
        opens(&self.ring(), &self.old);
        opens(&self.ring(), &seal(&Recipient::load(beside(&self.path(), ".pub")).unwrap()));
    }
}

#[test]
fn killed_after_any_step_everything_opens_and_the_same_rotation_is_finished() {
    for (step, by_copy) in [(1, false), (2, false), (2, true), (3, false), (3, true), (4, false), (4, true)] {
        let state = Interrupted::after(step, by_copy);
        state.loses_nothing();
        let refused = KeyRing::destroy_retired(state.path()).unwrap_err();
        assert!(matches!(refused, Error::RotationUnfinished { .. }), "step {step}: {refused}");
        let recipient = KeyRing::begin_rotation(state.path(), None).unwrap();
        assert_eq!(recipient, state.new, "step {step}");
        state.loses_nothing();
        assert_eq!(names(state.folder.path()), ["key", "key.pub", "key.retired.1"], "step {step}");
        assert_eq!(Recipient::load(beside(&state.path(), ".pub")).unwrap(), state.new);
        assert!(!opens(&state.ring(), &state.old) && opens(&state.ring(), &seal(&state.new)));
    }
}

#[test]
fn a_finished_rotation_is_followed_by_another_and_all_identities_are_in_the_ring() {
    let state = Interrupted::after(5, false);
    let third = KeyRing::begin_rotation(state.path(), None).unwrap();
    assert_ne!(third, state.new);
    let ring = state.ring();
    assert_eq!(names(state.folder.path()), ["key", "key.pub", "key.retired.1", "key.retired.2"]);
    let recipients: Vec<_> = ring.identities().map(Identity::recipient).collect();
    assert_eq!((recipients.len(), &recipients[0], &recipients[1]), (3, &third, &state.new));
    assert_eq!(ring.open(&state.old[..]).unwrap().identity.recipient(), recipients[2]);
    assert!(opens(&ring, &seal(&third)) && !opens(&ring, &seal(&state.new)));
    let stranger = seal(&Identity::generate().recipient());
    assert!(matches!(ring.open(&stranger[..]), Err(Error::WrongKey)));

    let header = BundleHeader::default();
    let sealed = BundleWriter::new(Sealer::new(state.new.clone()).seal(Vec::new()).unwrap(), &header);
    let sealed = sealed.unwrap().finish().unwrap().finish().unwrap();
    let opened = ring.open_bundle(&sealed[..]).unwrap();
    assert!(!opened.is_current && opened.identity.recipient() == state.new);
}

// The order as it is carried out, not as it is imagined: a folder is in the way of a step.
#[test]
fn a_rotation_that_cannot_go_on_stops_where_nothing_is_lost() {
    for (blocked, left) in [
        (".pub.next", &["key", "key.next", "key.pub", "key.pub.next", "key.retired.1"][..]),
        (".pub", &["key", "key.pub", "key.pub.next", "key.retired.1"]),
    ] {
        let state = Interrupted::after(0, false);
        let (public, blocked) = (beside(&state.path(), ".pub"), beside(&state.path(), blocked));
        let published = fs::read(&public).unwrap();
        let _ = fs::remove_file(&blocked);
        fs::create_dir_all(blocked.join("in the way")).unwrap();
        for _ in 0..2 {
            // The second time finds what the first left. `.pub.next` alone says that all but the end is done.
            KeyRing::begin_rotation(state.path(), None).unwrap_err();
            assert_eq!(names(state.folder.path()), left);
            opens(&state.ring(), &state.old);
        }
        let new = match beside(&state.path(), ".next") {
            next if next.exists() => Identity::load(next).unwrap().recipient(),
            _ => state.ring().current().recipient(),
        };
        fs::remove_dir_all(&blocked).unwrap();
        if !public.exists() {
            fs::write(&public, &published).unwrap();
        }
        assert_eq!(KeyRing::begin_rotation(state.path(), None).unwrap(), new);
        state.loses_nothing();
        assert_eq!(names(state.folder.path()), ["key", "key.pub", "key.retired.1"]);
    }
}

#[test]
fn a_public_key_to_come_without_its_identity_is_never_published() {
    // Somebody removed `key.next` after the third step.
    let state = Interrupted::after(3, false);
    fs::remove_file(beside(&state.path(), ".next")).unwrap();
    let before = state.ring().current().recipient();
    let recipient = KeyRing::begin_rotation(state.path(), None).unwrap();
    assert!(recipient != state.new && recipient != before);
    assert_eq!(names(state.folder.path()), ["key", "key.pub", "key.retired.1"]);
    state.loses_nothing();
}

#[test]
fn destroyed_identities_are_gone_and_an_interrupted_destruction_goes_on() {
    let state = Interrupted::after(5, false);
    KeyRing::begin_rotation(state.path(), None).unwrap();
    let (first, second) = (beside(&state.path(), ".retired.1"), beside(&state.path(), ".retired.2"));
    // A second name shows what became of the bytes.
    let witness = state.folder.path().join("witness");
    fs::hard_link(&second, &witness).unwrap();
    // Killed between renaming and overwriting, and halfway through that.
    let doomed = beside(&state.path(), ".destroy.1");
    fs::rename(&first, &doomed).unwrap();
    fs::write(&doomed, [0; 20]).unwrap();
    assert_eq!(state.ring().identities().count(), 2);
    assert_eq!(KeyRing::destroy_retired(state.path()).unwrap(), 2);
    assert!(fs::read(&witness).unwrap().iter().all(|&byte| byte == 0));
    assert_eq!(names(state.folder.path()), ["key", "key.pub", "witness"]);
    let ring = state.ring();
    assert_eq!(ring.identities().count(), 1);
    assert!(opens(&ring, &seal(&Recipient::load(beside(&state.path(), ".pub")).unwrap())));
    assert!(matches!(ring.open(&state.old[..]), Err(Error::WrongKey)));
    assert_eq!(KeyRing::destroy_retired(state.path()).unwrap(), 0);
}

#[test]
fn another_name_of_the_current_identity_is_removed_and_not_overwritten() {
    let state = Interrupted::after(0, false);
    fs::hard_link(state.path(), beside(&state.path(), ".retired.7")).unwrap();
    assert_eq!(state.ring().identities().count(), 1);
    assert_eq!(KeyRing::destroy_retired(state.path()).unwrap(), 1);
    assert!(opens(&state.ring(), &state.old));
}

#[test]
fn files_with_other_names_are_not_of_the_ring() {
    let state = Interrupted::after(0, false);
    for name in
        [".retired.0", ".retired.01", ".retired.", ".retired.x", ".retired.1.bak", ".retired.4294967296"]
    {
        fs::write(beside(&state.path(), name), "no key").unwrap();
    }
    fs::write(state.folder.path().join("other.retired.1"), "no key").unwrap();
    assert_eq!(state.ring().identities().count(), 1);
}

#[test]
fn a_ring_behind_one_passphrase_asks_once_and_stays_behind_it() {
    let state = Interrupted::after(0, false);
    let (text, old) = keygen(state.folder.path());
    write_private(&state.path(), &age_p(&text, "one", 4));
    for (given, words) in [(None, "needed"), (Some(passphrase("two")), "does not open")] {
        let error = KeyRing::begin_rotation(state.path(), given.as_ref()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(names(state.folder.path()), ["key", "key.pub"], "nothing is changed");
    }
    // Begun by somebody who forgot the passphrase: the rotation goes on with it.
    let next = Identity::generate();
    next.write_new(beside(&state.path(), ".next")).unwrap();
    assert_eq!(KeyRing::begin_rotation(state.path(), Some(&passphrase("one"))).unwrap(), next.recipient());
    for file in [state.path(), beside(&state.path(), ".retired.1")] {
        assert!(matches!(Identity::load(file), Err(Error::PassphraseNeeded { .. })));
    }
    let mut asked = 0;
    let ring = KeyRing::load(state.path(), || {
        asked += 1;
        Ok(passphrase("one"))
    });
    let ring = ring.unwrap();
    assert_eq!(asked, 1);
    assert!(opens(&ring, &seal(&next.recipient())) && !opens(&ring, &seal(&old)));
    assert!(!format!("{ring:?}").contains("SECRET"));
}

#[cfg(unix)]
#[test]
fn a_link_a_second_process_and_an_open_file_are_refused_before_anything_is_changed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let state = Interrupted::after(5, false);
    let link = state.folder.path().join("link");
    symlink(state.path(), &link).unwrap();
    assert!(KeyRing::begin_rotation(&link, None).unwrap_err().to_string().contains("link"));
    fs::remove_file(link).unwrap();

    let folder = fs::File::open(state.folder.path()).unwrap();
    folder.try_lock().unwrap();
    assert!(KeyRing::begin_rotation(state.path(), None).unwrap_err().to_string().contains("another process"));
    assert!(KeyRing::destroy_retired(state.path()).is_err());
    drop(folder);

    let retired = beside(&state.path(), ".retired.1");
    fs::set_permissions(&retired, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(KeyRing::load(state.path(), NEVER_ASKED), Err(Error::Insecure { .. })));
    assert!(matches!(KeyRing::begin_rotation(state.path(), None), Err(Error::Insecure { .. })));
    assert_eq!(names(state.folder.path()), ["key", "key.pub", "key.retired.1"]);
}

const CHILD: &str = "ENCRYPTED_UNCONSCIOUS_TEST_RING";

/// What the process to be killed does: this test binary again, with a path in its environment.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    loop {
        KeyRing::begin_rotation(&path, None).unwrap();
    }
}

#[test]
fn killed_at_any_moment_every_seal_opens_and_what_was_begun_is_finished() {
    let state = Interrupted::after(0, false);
    let public = beside(&state.path(), ".pub");
    let mut sealed = vec![state.old.clone()];
    let mut interrupted = 0;
    for round in 0..40 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, state.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let seen = beside(&state.path(), [".next", ".pub.next"][round % 2]);
        while !seen.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it goes on for ever");
        }
        child.kill().unwrap();
        child.wait().unwrap();

        // Whatever is published can be opened, by the ring as it was left and by all that follow.
        sealed.push(seal(&Recipient::load(&public).unwrap()));
        for sealed in &sealed {
            opens(&state.ring(), sealed);
        }
        let next = beside(&state.path(), ".next");
        if next.exists() {
            interrupted += 1;
            let begun = Identity::load(next).unwrap().recipient();
            assert_eq!(KeyRing::begin_rotation(state.path(), None).unwrap(), begun);
        } else if beside(&state.path(), ".pub.next").exists() {
            interrupted += 1;
            let begun = state.ring().current().recipient();
            assert_eq!(KeyRing::begin_rotation(state.path(), None).unwrap(), begun);
        }
        assert_eq!(state.ring().current().recipient(), Recipient::load(&public).unwrap());
        // None is retired twice, and the current one is not among them.
        let retired = names(state.folder.path()).iter().filter(|name| name.contains(".retired.")).count();
        assert_eq!(state.ring().identities().count(), retired + 1);
        if round % 10 == 9 {
            KeyRing::destroy_retired(state.path()).unwrap();
            sealed = vec![seal(&Recipient::load(&public).unwrap())];
        }
    }
    assert!(interrupted > 0);
}
