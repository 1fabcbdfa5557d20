use std::{sync::LazyLock, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    Identity, Sealer,
    influence::Query,
    keyholder::{Answer, Followed, KeyholderError, Refusal, Status, Step, SumAnswer},
};

static SIGNATURES: LazyLock<Vec<EncryptedSignature>> = LazyLock::new(|| {
    let sealer = Sealer::new(Identity::generate().recipient());
    (1..=3)
        .map(|number| sealer.encrypt_signature([number; 32], &[0.6, 0.8, f32::from(number)]).unwrap())
        .collect()
});

fn query() -> Query {
    Query::new(&[1.0, -2.0, 0.5]).unwrap()
}

fn requests() -> Vec<Vec<u8>> {
    let step = Step { from: 3, to: u64::MAX, admitted: &SIGNATURES, forgotten: &[[4; 32], [5; 32]] };
    vec![
        Request::influence(&query(), &SIGNATURES),
        Request::influence(&query(), &[]),
        Request::influence_of_set(&query(), &SIGNATURES[1..]),
        Request::influence_of_all(&query(), &[9; 32]),
        Request::followed(&[9; 32]),
        Request::follow(&[9; 32], step),
        Request::status(),
    ]
}

fn replies() -> Vec<Reply> {
    let again_in = Duration::from_millis(1_234_567);
    let answers = vec![
        Answer::AtLeast(0.0),
        Answer::AtLeast(0.75),
        Answer::Refused(Refusal::OverBudget { again_in }),
        Answer::Refused(Refusal::Unusable { reason: "it was changed — somehow".to_owned() }),
    ];
    let no = [
        KeyholderError::Failed { reason: "its disk is full".to_owned() },
        KeyholderError::Refused(Refusal::OverBudget { again_in }),
        KeyholderError::CallerOverBudget { uid: 1000, again_in },
        KeyholderError::NotAllowed { uid: u32::MAX },
        KeyholderError::TooMany { asked: 70_000, most: 65_536 },
        KeyholderError::OutOfStep { position: 7, from: u64::MAX },
        InfluenceError::Dimension { dimension: 0, most: 65_536 }.into(),
        InfluenceError::Zero.into(),
        InfluenceError::OtherDimension { query: 3, signature: 4 }.into(),
        InfluenceError::TooLong.into(),
        InfluenceError::Truncated { bytes: 1, expected: 2 }.into(),
        InfluenceError::Changed.into(),
        InfluenceError::Twice.into(),
        InfluenceError::Nothing.into(),
        InfluenceError::NoHeadroom { members: 1 << 40, most: 200_000 }.into(),
    ];
    let status = Status {
        public_key: "age1…".to_owned(),
        retired_keys: 2,
        levels: vec![0.25, 0.5],
        audit_records: 12,
        audit_head: "00ff".to_owned(),
        memories_asked: 5,
        memories_over_budget: 1,
        members: 1 << 33,
    };
    let mut replies = vec![
        Reply::Influence(answers),
        Reply::Influence(Vec::new()),
        Reply::Sum(SumAnswer { sum: -3.0, members: 12 }),
        Reply::Followed(Followed { position: 8, members: 9 }),
        Reply::TakenIn,
        Reply::Status(status),
        Reply::NotUnderstood("what?".to_owned()),
    ];
    replies.extend(no.map(Reply::No));
    replies
}

/// A message as the other side reads it, behind its length.
fn content(message: &[u8]) -> &[u8] {
    let (length, content) = message.split_first_chunk().unwrap();
    assert_eq!(u32::from_le_bytes(*length) as usize, content.len());
    content
}

#[test]
fn a_request_arrives_as_it_was_sent() {
    let arrived: Vec<_> =
        requests().iter().map(|bytes| Request::from_bytes(content(bytes)).unwrap()).collect();
    let all = |received: &[Result<EncryptedSignature, _>]| {
        received.iter().map(|signature| signature.as_ref().unwrap().clone()).collect::<Vec<_>>()
    };
    let [
        Request::Influence { query: asked, signatures },
        Request::Influence { signatures: none, .. },
        Request::InfluenceOfSet { signatures: set, .. },
        Request::InfluenceOfAll { query: of_all, store },
        Request::Followed { store: followed },
        Request::Follow { store: follow, from: 3, to: u64::MAX, admitted, forgotten },
        Request::Status,
    ] = &arrived[..]
    else {
        panic!("{arrived:?}");
    };
    assert_eq!((asked, of_all), (&query(), &query()));
    assert_eq!([store, followed, follow], [&[9; 32]; 3]);
    assert_eq!((all(signatures), all(admitted)), (SIGNATURES.clone(), SIGNATURES.clone()));
    assert_eq!((none.len(), all(set)), (0, SIGNATURES[1..].to_vec()));
    assert_eq!(forgotten, &[[4; 32], [5; 32]]);
}

#[test]
fn a_reply_arrives_as_it_was_sent() {
    for reply in replies() {
        let arrived = Reply::from_bytes(content(&reply.to_message())).unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{reply:?}"));
    }
}

#[test]
fn an_error_that_cannot_be_sent_arrives_in_words() {
    let errors = [
        KeyholderError::Config { reason: "levels must ascend".to_owned() },
        InfluenceError::NotASignature { reason: "it does not begin as one" }.into(),
        KeyholderError::LedgerDamaged { path: "audit.jsonl".into(), reason: "line 7".to_owned() },
    ];
    for error in errors {
        let (said, whether) = (error.to_string(), error.is_refusal());
        match Reply::from_bytes(content(&Reply::No(error).to_message())).unwrap() {
            Reply::No(failed @ KeyholderError::Failed { .. }) => {
                assert!(failed.to_string().ends_with(&said), "{failed}");
                assert_eq!(failed.is_refusal(), whether);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_long_reason_is_cut_between_letters() {
    let reply = Reply::NotUnderstood("ü".repeat(1000) + "x");
    let Reply::NotUnderstood(reason) = Reply::from_bytes(content(&reply.to_message())).unwrap() else {
        panic!()
    };
    assert_eq!(reason, "ü".repeat(256));
    let reply = Reply::NotUnderstood("x".to_owned() + &"ü".repeat(1000));
    let Reply::NotUnderstood(reason) = Reply::from_bytes(content(&reply.to_message())).unwrap() else {
        panic!()
    };
    assert_eq!(reason, "x".to_owned() + &"ü".repeat(255));
}

#[test]
fn nobody_is_told_to_come_back_too_early() {
    for (again_in, milliseconds) in
        [(Duration::ZERO, 0), (Duration::from_nanos(1), 1), (Duration::MAX, u64::MAX)]
    {
        let reply = Reply::No(KeyholderError::CallerOverBudget { uid: 1, again_in });
        match Reply::from_bytes(content(&reply.to_message())).unwrap() {
            Reply::No(KeyholderError::CallerOverBudget { again_in, .. }) => {
                assert_eq!(again_in, Duration::from_millis(milliseconds));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_signature_that_cannot_be_used_leaves_the_others_as_they_are() {
    let mut message = Request::influence(&query(), &SIGNATURES);
    let second = SIGNATURES[1].to_bytes();
    let at = message.windows(second.len()).position(|window| window == second).unwrap();
    message[at] ^= 1;
    let Request::Influence { signatures, .. } = Request::from_bytes(content(&message)).unwrap() else {
        panic!()
    };
    assert!(signatures[0].is_ok() && signatures[2].is_ok());
    assert!(matches!(signatures[1], Err(InfluenceError::NotASignature { .. })));
}

#[test]
fn what_is_counted_must_be_there() {
    let of_all = Request::influence_of_all(&query(), &[0; 32]);
    let mut influence = Request::influence(&query(), &[]);
    for (message, at) in [(&mut of_all.clone(), 5), (&mut influence, 5 + 4 + 6)] {
        message[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Request::from_bytes(content(message)), Err(WireError::NotUnderstood { .. })));
    }
    for kind in [129, 133] {
        let mut bytes = vec![kind];
        bytes.extend([0xff; 40]);
        assert!(matches!(Reply::from_bytes(&bytes), Err(WireError::NotUnderstood { .. })));
    }
}

#[test]
fn a_query_that_would_magnify_is_a_question_that_makes_no_sense() {
    let mut message = Request::influence(&query(), &SIGNATURES);
    message[9..15].copy_from_slice(&[0xff, 0x7f, 0xff, 0x7f, 0xff, 0x7f]);
    let answer = Request::from_bytes(content(&message));
    assert!(matches!(answer, Err(WireError::Question(InfluenceError::TooLong))), "{answer:?}");
}

#[test]
fn a_level_or_a_sum_that_is_no_number_is_not_understood() {
    for reply in [
        Reply::Influence(vec![Answer::AtLeast(f32::NAN)]),
        Reply::Sum(SumAnswer { sum: f64::INFINITY, members: 1 }),
    ] {
        assert!(Reply::from_bytes(content(&reply.to_message())).is_err());
    }
}

#[test]
fn a_message_ends_where_it_ends() {
    for message in requests() {
        for end in 0..content(&message).len() {
            assert!(Request::from_bytes(&content(&message)[..end]).is_err(), "{end} of {message:?}");
        }
        assert!(Request::from_bytes(&[content(&message), &[0]].concat()).is_err());
    }
    for reply in replies() {
        let message = reply.to_message();
        for end in 0..content(&message).len() {
            assert!(Reply::from_bytes(&content(&message)[..end]).is_err(), "{end} of {reply:?}");
        }
        assert!(Reply::from_bytes(&[content(&message), &[0]].concat()).is_err());
    }
}

#[cfg(unix)]
#[test]
fn as_many_signatures_fit_as_the_message_has_room_for() {
    let message = |count| Request::influence(&query(), &SIGNATURES[..count]).len() - 4;
    for count in 0..=SIGNATURES.len() {
        // What else is in it is taken to be 64 bytes and the query, and is 9 bytes and the query.
        assert_eq!(fitting(&SIGNATURES, 6, message(count) + 55), count);
        if count > 0 {
            assert_eq!(fitting(&SIGNATURES, 6, message(count) + 54), count - 1);
        }
    }
}

#[test]
fn a_greeting_of_another_version_or_of_something_else_is_told_apart() {
    assert!(check_greeting(&greeting()).is_ok());
    let said = |bytes: &[u8]| check_greeting(bytes).unwrap_err().to_string();
    assert!(said(b"OMNIKEEP\x02\0\0\0").contains("another version"));
    assert!(said(b"HTTP/1.1 400").contains("does not greet"));
    assert!(said(b"OMNIKEEP").contains("cut short"));
}

proptest! {
    #[test]
    fn whatever_bytes_arrive_are_a_message_or_are_not(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Request::from_bytes(&bytes);
        let _ = Reply::from_bytes(&bytes);
    }

    #[test]
    fn a_message_that_was_changed_is_another_or_none(
        which in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let replies = replies().iter().map(Reply::to_message).collect::<Vec<_>>();
        let messages = [requests(), replies].concat();
        let mut bytes = content(&messages[which.index(messages.len())]).to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = Request::from_bytes(&bytes);
        // What was read of a reply is said again, and read again, as the same.
        if let Ok(reply) = Reply::from_bytes(&bytes) {
            let again = Reply::from_bytes(content(&reply.to_message())).unwrap();
            prop_assert_eq!(format!("{:?}", again), format!("{:?}", reply));
        }
    }
}
