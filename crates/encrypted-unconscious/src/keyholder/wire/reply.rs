//! What a keyholder replies.

use super::{
    super::{
        Followed, Status,
        answer::{Answer, KeyholderError, SumAnswer},
    },
    MAX_SIGNATURES, WireError,
    fields::{Fields, Message},
    not_understood,
};
use crate::influence::InfluenceError;

const INFLUENCE: u8 = 129;
const SUM: u8 = 130;
const FOLLOWED: u8 = 131;
const TAKEN_IN: u8 = 132;
const STATUS: u8 = 133;
const NO_ANSWER: u8 = 255;

const NOT_UNDERSTOOD: u8 = 7;

/// A reply.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply {
    /// About each memory.
    Influence(Vec<Answer>),
    /// About several together.
    Sum(SumAnswer),
    /// How far a store was followed.
    Followed(Followed),
    /// The memories are in the sums.
    TakenIn,
    /// What the keyholder holds.
    Status(Status),
    /// There is no answer.
    No(KeyholderError),
    /// The request was not understood.
    NotUnderstood(String),
}

impl Reply {
    /// The whole message, with its length.
    #[must_use]
    pub fn to_message(&self) -> Vec<u8> {
        let mut message;
        match self {
            Self::Influence(answers) => {
                message = Message::new(INFLUENCE);
                message.u32(answers.len() as u32);
                for answer in answers {
                    match answer {
                        Answer::AtLeast(level) => {
                            message.u8(0);
                            message.f32(*level);
                        }
                        Answer::Refused(refusal) => message.refusal(refusal),
                    }
                }
            }
            Self::Sum(answer) => {
                message = Message::new(SUM);
                message.bytes(&answer.sum.to_le_bytes());
                message.u64(answer.members);
            }
            Self::Followed(followed) => {
                message = Message::new(FOLLOWED);
                message.u64(followed.position);
                message.u64(followed.members);
            }
            Self::TakenIn => message = Message::new(TAKEN_IN),
            Self::Status(status) => {
                message = Message::new(STATUS);
                write_status(&mut message, status);
            }
            Self::No(error) => {
                message = Message::new(NO_ANSWER);
                write_error(&mut message, error);
            }
            Self::NotUnderstood(reason) => {
                message = Message::new(NO_ANSWER);
                message.u8(NOT_UNDERSTOOD);
                message.text(reason);
            }
        }
        message.finish()
    }

    /// From the kind and the fields of a message: all of it but its length.
    ///
    /// # Errors
    /// [`WireError::NotUnderstood`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let reply = match fields.u8()? {
            INFLUENCE => {
                let count = fields.count(5, MAX_SIGNATURES)?;
                Self::Influence((0..count).map(|_| read_answer(&mut fields)).collect::<Result<_, _>>()?)
            }
            SUM => Self::Sum(SumAnswer { sum: fields.f64()?, members: fields.u64()? }),
            FOLLOWED => Self::Followed(Followed { position: fields.u64()?, members: fields.u64()? }),
            TAKEN_IN => Self::TakenIn,
            STATUS => Self::Status(read_status(&mut fields)?),
            NO_ANSWER => match fields.u8()? {
                NOT_UNDERSTOOD => Self::NotUnderstood(fields.text()?),
                code => Self::No(read_error(code, &mut fields)?),
            },
            _ => return Err(not_understood("a reply is of no kind that is known")),
        };
        fields.end()?;
        Ok(reply)
    }
}

fn read_answer(fields: &mut Fields<'_>) -> Result<Answer, WireError> {
    Ok(match fields.u8()? {
        0 => Answer::AtLeast(fields.f32()?),
        tag => Answer::Refused(fields.refusal(tag)?),
    })
}

fn write_status(message: &mut Message, status: &Status) {
    message.text(&status.public_key);
    message.u64(status.retired_keys as u64);
    message.u32(status.levels.len() as u32);
    for level in &status.levels {
        message.f32(*level);
    }
    message.u64(status.audit_records);
    message.text(&status.audit_head);
    message.u64(status.memories_asked as u64);
    message.u64(status.memories_over_budget as u64);
    message.u64(status.members);
}

fn read_status(fields: &mut Fields<'_>) -> Result<Status, WireError> {
    let public_key = fields.text()?;
    let retired_keys = fields.size()?;
    let levels = fields.count(4, usize::MAX)?;
    Ok(Status {
        public_key,
        retired_keys,
        levels: (0..levels).map(|_| fields.f32()).collect::<Result<_, _>>()?,
        audit_records: fields.u64()?,
        audit_head: fields.text()?,
        memories_asked: fields.size()?,
        memories_over_budget: fields.size()?,
        members: fields.u64()?,
    })
}

fn write_error(message: &mut Message, error: &KeyholderError) {
    match error {
        KeyholderError::Refused(refusal) => {
            message.u8(1);
            message.refusal(refusal);
        }
        KeyholderError::CallerOverBudget { uid, again_in } => {
            message.u8(2);
            message.u32(*uid);
            message.duration(*again_in);
        }
        KeyholderError::NotAllowed { uid } => {
            message.u8(3);
            message.u32(*uid);
        }
        KeyholderError::Question(question) => match question_code(question) {
            Some((code, [first, second])) => {
                message.bytes(&[4, code]);
                message.u64(first);
                message.u64(second);
            }
            None => in_its_words(message, &question.to_string()),
        },
        KeyholderError::TooMany { asked, most } => {
            message.u8(5);
            message.u64(*asked as u64);
            message.u64(*most as u64);
        }
        KeyholderError::OutOfStep { position, from } => {
            message.u8(6);
            message.u64(*position);
            message.u64(*from);
        }
        KeyholderError::Failed { reason } => in_its_words(message, reason),
        // What happened to the keyholder's files and keys means nothing on the other side but that it happened.
        other => in_its_words(message, &other.to_string()),
    }
}

fn in_its_words(message: &mut Message, reason: &str) {
    message.u8(0);
    message.text(reason);
}

fn read_error(code: u8, fields: &mut Fields<'_>) -> Result<KeyholderError, WireError> {
    Ok(match code {
        0 => KeyholderError::Failed { reason: fields.text()? },
        1 => {
            let tag = fields.u8()?;
            KeyholderError::Refused(fields.refusal(tag)?)
        }
        2 => KeyholderError::CallerOverBudget { uid: fields.u32()?, again_in: fields.duration()? },
        3 => KeyholderError::NotAllowed { uid: fields.u32()? },
        4 => KeyholderError::Question(read_question(fields)?),
        5 => KeyholderError::TooMany { asked: fields.size()?, most: fields.size()? },
        6 => KeyholderError::OutOfStep { position: fields.u64()?, from: fields.u64()? },
        _ => return Err(not_understood("a reply gives a reason that is not known")),
    })
}

/// What is wrong with a question, in numbers; none for what only words can say.
fn question_code(question: &InfluenceError) -> Option<(u8, [u64; 2])> {
    Some(match question {
        InfluenceError::Dimension { dimension, most } => (1, [*dimension as u64, *most as u64]),
        InfluenceError::Zero => (2, [0; 2]),
        InfluenceError::OtherDimension { query, signature } => (3, [*query as u64, *signature as u64]),
        InfluenceError::TooLong => (4, [0; 2]),
        InfluenceError::Truncated { bytes, expected } => (5, [*bytes as u64, *expected as u64]),
        InfluenceError::Changed => (6, [0; 2]),
        InfluenceError::Twice => (7, [0; 2]),
        InfluenceError::Nothing => (8, [0; 2]),
        InfluenceError::NoHeadroom { members, most } => (9, [*members, *most]),
        InfluenceError::NotFinite { .. }
        | InfluenceError::NotASignature { .. }
        | InfluenceError::Ticket(_) => {
            return None;
        }
    })
}

fn read_question(fields: &mut Fields<'_>) -> Result<InfluenceError, WireError> {
    let (code, first, second) = (fields.u8()?, fields.size()?, fields.size()?);
    Ok(match code {
        1 => InfluenceError::Dimension { dimension: first, most: second },
        2 => InfluenceError::Zero,
        3 => InfluenceError::OtherDimension { query: first, signature: second },
        4 => InfluenceError::TooLong,
        5 => InfluenceError::Truncated { bytes: first, expected: second },
        6 => InfluenceError::Changed,
        7 => InfluenceError::Twice,
        8 => InfluenceError::Nothing,
        9 => InfluenceError::NoHeadroom { members: first as u64, most: second as u64 },
        _ => return Err(not_understood("a question is wrong in a way that is not known")),
    })
}
