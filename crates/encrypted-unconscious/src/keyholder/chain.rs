//! Lines that hang on those before them: each ends with a hash of itself and of the line before. Knows nothing of what they
//! say.

/// What stands before the hash, and after it. No JSON text holds it inside, because it would write `\"` there.
const BEFORE: &[u8] = b",\"chain\":\"";
const AFTER: &[u8] = b"\"}";
const HEX: usize = 64;

/// The hash at the end of a line, and the key of that of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link([u8; 32]);

impl Link {
    /// What the first line of such a file hangs on.
    pub(super) fn first(context: &str) -> Self {
        Self(blake3::derive_key(context, b""))
    }

    pub(super) fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    pub(super) fn from_hex(hex: &str) -> Option<Self> {
        blake3::Hash::from_hex(hex).ok().map(|hash| Self(*hash.as_bytes()))
    }

    fn next(self, beginning: &[u8]) -> Self {
        Self(*blake3::keyed_hash(&self.0, beginning).as_bytes())
    }

    /// Makes a JSON object a line, with its newline.
    pub(super) fn close(self, object: &[u8]) -> (Vec<u8>, Self) {
        let beginning = object.strip_suffix(b"}").unwrap_or(object);
        let link = self.next(beginning);
        let mut closed = Vec::with_capacity(beginning.len() + BEFORE.len() + HEX + AFTER.len() + 1);
        for part in [beginning, BEFORE, link.to_hex().as_bytes(), AFTER, b"\n"] {
            closed.extend(part);
        }
        (closed, link)
    }

    /// The JSON object of a line without its newline, and the link at its end; none if it does not hang on this one.
    pub(super) fn open(self, closed: &[u8]) -> Option<(Vec<u8>, Self)> {
        let at = closed.len().checked_sub(BEFORE.len() + HEX + AFTER.len())?;
        let (beginning, end) = closed.split_at(at);
        let hex = end.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
        let link = self.next(beginning);
        if link.to_hex().as_bytes() != hex {
            return None;
        }
        let mut object = beginning.to_vec();
        object.push(b'}');
        Some((object, link))
    }
}

/// Whether this could be the beginning of a line whose end was never written.
pub(super) fn is_unfinished(line: &[u8]) -> bool {
    let end = line.windows(BEFORE.len()).position(|window| window == BEFORE);
    end.is_none_or(|at| line.len() < at + BEFORE.len() + HEX + AFTER.len())
}
