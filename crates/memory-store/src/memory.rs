//! What a memory is to the store: the description handed in, and the row and manifest handed back.
//!
//! Checks that a description can be stored and read back unchanged. What its words mean is not known here.

use crate::error::{Error, Result};
use crate::hash::{ContentHash, ObjectRef};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// Longest kind, context, bound or dtype, in bytes.
const MAX_NAME: usize = 256;
/// Longest tensor name, in bytes. State dicts nest deeply, so this is generous.
const MAX_TENSOR_NAME: usize = 4096;
/// Largest metadata, in bytes of JSON.
const MAX_METADATA: usize = 1 << 20;
/// Most dimensions of a tensor.
const MAX_RANK: usize = 64;
/// Most components of a signature.
const MAX_SIGNATURE: usize = 1 << 16;

/// The name of a layer: 1 to 32 lowercase ASCII letters, digits, `-` or `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerName(String);

impl LayerName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`Error::InvalidMemory`] if it is empty, too long, or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
            return Err(Error::invalid(
                "layer",
                format!("{name:?} is not 1 to 32 lowercase letters, digits, - or _"),
            ));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for LayerName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for LayerName {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<LayerName> for String {
    fn from(layer: LayerName) -> Self {
        layer.0
    }
}

/// A memory to be stored. Made with [`NewMemory::new`]; the other fields are set as needed.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMemory {
    /// What the memory is known by. The same hash again is the same memory.
    pub content_hash: ContentHash,
    /// The layer that it belongs to.
    pub layer: LayerName,
    /// What kind of thing it is ("model", "embeddings"…).
    pub kind: String,
    /// The process context that stores it, the first in its activation trace.
    pub context: String,
    /// Anything else, kept as it is.
    pub metadata: Map<String, Value>,
    /// 0 to 1.
    pub trauma_score: f64,
    /// The error bound asked for, in the caller's notation.
    pub bound: String,
    /// Bytes before compression.
    pub original_bytes: u64,
    /// Largest absolute error over all elements.
    pub max_abs_error: f64,
    /// Relative L2 error, as the caller aggregates it.
    pub rel_l2_error: f64,
    /// The tensors that are objects of their own.
    pub tensors: Vec<NewTensor>,
    /// One object that holds the whole memory sealed, if it is.
    pub sealed: Option<ObjectRef>,
    /// The vector by which it is found.
    pub signature: Option<Vec<f32>>,
}

impl NewMemory {
    /// A memory without tensors, metadata or signature, and with the bound "exact".
    #[must_use]
    pub fn new(
        content_hash: ContentHash,
        layer: LayerName,
        kind: impl Into<String>,
        context: impl Into<String>,
    ) -> Self {
        Self {
            content_hash,
            layer,
            kind: kind.into(),
            context: context.into(),
            metadata: Map::new(),
            trauma_score: 0.0,
            bound: "exact".into(),
            original_bytes: 0,
            max_abs_error: 0.0,
            rel_l2_error: 0.0,
            tensors: Vec::new(),
            sealed: None,
            signature: None,
        }
    }

    /// Every object that it refers to, each once.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectRef> {
        distinct(self.tensors.iter().map(|t| t.object).chain(self.sealed))
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name("kind", &self.kind)?;
        check_context(&self.context)?;
        check_name("bound", &self.bound)?;
        check_error("trauma score", self.trauma_score)?;
        check_error("max_abs_error", self.max_abs_error)?;
        check_error("rel_l2_error", self.rel_l2_error)?;
        check_count("original_bytes", self.original_bytes)?;
        if self.trauma_score > 1.0 {
            return Err(Error::invalid("trauma score", format!("is {}, above 1", self.trauma_score)));
        }
        let metadata = metadata_json(&self.metadata).len();
        if metadata > MAX_METADATA {
            return Err(Error::invalid(
                "metadata",
                format!("takes {metadata} bytes; {MAX_METADATA} is the most"),
            ));
        }
        if let Some(signature) = &self.signature {
            if signature.is_empty() || signature.len() > MAX_SIGNATURE {
                let found = signature.len();
                return Err(Error::invalid(
                    "signature",
                    format!("has {found} components; 1 to {MAX_SIGNATURE} can be"),
                ));
            }
            if let Some(at) = signature.iter().position(|x| !x.is_finite()) {
                return Err(Error::invalid("signature", format!("is not finite at component {at}")));
            }
        }
        check_tensors(&self.tensors)
    }
}

/// One tensor of a [`NewMemory`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewTensor {
    /// Its name, unique within the memory.
    pub name: String,
    /// Its element type, in the caller's words.
    pub dtype: String,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Its bytes, from [`crate::ObjectWriter::finish`] or from another memory's manifest.
    pub object: ObjectRef,
    /// Bytes before compression.
    pub original_bytes: u64,
    /// Largest absolute error of an element.
    pub max_abs_error: f64,
    /// Relative L2 error.
    pub rel_l2_error: f64,
}

impl NewTensor {
    /// A tensor that is stored without error.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        dtype: impl Into<String>,
        shape: Vec<u64>,
        object: ObjectRef,
        original_bytes: u64,
    ) -> Self {
        Self {
            name: name.into(),
            dtype: dtype.into(),
            shape,
            object,
            original_bytes,
            max_abs_error: 0.0,
            rel_l2_error: 0.0,
        }
    }

    fn check(&self) -> Result<()> {
        let named = |what: &str| format!("tensor {:?}'s {what}", self.name);
        if self.name.len() > MAX_TENSOR_NAME {
            return Err(Error::invalid(
                "list of tensors",
                format!("has a name of {} bytes", self.name.len()),
            ));
        }
        check_name(&named("dtype"), &self.dtype)?;
        if self.shape.len() > MAX_RANK {
            return Err(Error::invalid(named("shape"), format!("has {} dimensions", self.shape.len())));
        }
        self.shape.iter().try_for_each(|&extent| check_count(&named("shape"), extent))?;
        check_count(&named("original_bytes"), self.original_bytes)?;
        check_count(&named("object"), self.object.bytes)?;
        check_error(&named("max_abs_error"), self.max_abs_error)?;
        check_error(&named("rel_l2_error"), self.rel_l2_error)
    }
}

/// The catalogue's row of a memory, without its manifest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemorySummary {
    /// What it is known by.
    pub content_hash: ContentHash,
    /// Its layer.
    pub layer: LayerName,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The process context that stored it first.
    pub context: String,
    /// 0 to 1.
    pub trauma_score: f64,
    /// Bytes before compression.
    pub original_bytes: u64,
    /// Bytes of its distinct objects, whether or not other memories share them.
    pub stored_bytes: u64,
    /// `stored_bytes / original_bytes`; 1 if nothing was to be stored.
    pub ratio: f64,
    /// The error bound asked for.
    pub bound: String,
    /// Largest absolute error measured.
    pub max_abs_error: f64,
    /// Relative L2 error measured.
    pub rel_l2_error: f64,
    /// How many tensors its manifest names.
    pub tensor_count: u64,
    /// When it was stored first, in milliseconds since 1970-01-01 UTC.
    pub stored_at: u64,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether damage is known: an object of it was set aside, or its row fails its check sum.
    pub damaged: bool,
}

/// A memory with everything that the catalogue knows of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// Its row.
    #[serde(flatten)]
    pub summary: MemorySummary,
    /// Anything else that was said of it.
    pub metadata: Map<String, Value>,
    /// Its tensors, in the order given.
    pub tensors: Vec<Tensor>,
    /// The object that holds it sealed, if it is.
    #[serde(rename = "sealed_object")]
    pub sealed: Option<ObjectRef>,
    /// The vector by which it is found.
    #[serde(skip)]
    pub signature: Option<Vec<f32>>,
    /// Who may recall it, in order of their coming.
    pub traces: Vec<Trace>,
}

impl Memory {
    /// Every object that it refers to, each once.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectRef> {
        distinct(self.tensors.iter().map(|t| t.object).chain(self.sealed))
    }
}

/// One tensor of a [`Memory`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tensor {
    /// Its name, unique within the memory.
    pub name: String,
    /// Its element type, in the caller's words.
    pub dtype: String,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Its bytes.
    pub object: ObjectRef,
    /// Bytes before compression.
    pub original_bytes: u64,
    /// Largest absolute error of an element.
    pub max_abs_error: f64,
    /// Relative L2 error.
    pub rel_l2_error: f64,
}

/// One process context in the activation trace of a memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The context.
    pub context: String,
    /// When it first had to do with the memory, in milliseconds since 1970-01-01 UTC.
    pub first_at: u64,
    /// How.
    pub via: Via,
}

/// How a context came into an activation trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// It stored the memory.
    Consolidated,
    /// It recalled the memory.
    Reactivated,
}

impl Via {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Consolidated => "consolidated",
            Self::Reactivated => "reactivated",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Consolidated, Self::Reactivated].into_iter().find(|via| via.name() == name)
    }
}

/// What became of one memory of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Committed {
    /// The memory.
    pub content_hash: ContentHash,
    /// Whether it was not there before.
    pub new: bool,
    /// Whether it was there, was damaged, and is now whole.
    pub healed: bool,
    /// Numbers this act of storing, so that what it freed is recorded once.
    pub consolidation: u64,
}

/// Which memories to list. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only this layer.
    pub layer: Option<LayerName>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only what this context has in its trace.
    pub context: Option<String>,
    /// Only what was stored at or after this moment, in milliseconds since 1970-01-01 UTC.
    pub since: Option<u64>,
    /// Only what was stored before this moment, in milliseconds since 1970-01-01 UTC.
    pub until: Option<u64>,
    /// Only what has at least this trauma score.
    pub min_trauma: Option<f64>,
    /// At most so many, the newest first.
    pub limit: Option<u64>,
}

/// `stored / original`, and 1 where there was nothing to store.
pub(crate) fn ratio(stored: u64, original: u64) -> f64 {
    if original == 0 { 1.0 } else { stored as f64 / original as f64 }
}

/// Metadata as the catalogue keeps it.
pub(crate) fn metadata_json(metadata: &Map<String, Value>) -> String {
    // A map with string keys and JSON values cannot fail to be JSON.
    serde_json::to_string(metadata).unwrap_or_default()
}

/// Each object once, in order.
pub(crate) fn distinct(objects: impl Iterator<Item = ObjectRef>) -> Vec<ObjectRef> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_unstable();
    objects.dedup();
    objects
}

/// Each tensor by itself, and that no two have the same name.
pub(crate) fn check_tensors(tensors: &[NewTensor]) -> Result<()> {
    tensors.iter().try_for_each(NewTensor::check)?;
    let mut names: Vec<_> = tensors.iter().map(|t| &t.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::invalid("list of tensors", format!("names {:?} twice", pair[0]))),
        None => Ok(()),
    }
}

pub(crate) fn check_context(context: &str) -> Result<()> {
    check_name("context", context)
}

fn check_name(what: &str, text: &str) -> Result<()> {
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(Error::invalid(what, format!("has {} bytes; 1 to {MAX_NAME} can be", text.len())));
    }
    Ok(())
}

fn check_error(what: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(what, format!("is {value}; a number from 0 up is wanted")))
}

/// The catalogue keeps integers of 63 bits.
fn check_count(what: &str, value: u64) -> Result<()> {
    if i64::try_from(value).is_ok() {
        return Ok(());
    }
    Err(Error::invalid(what, format!("is {value}, more than any store can hold")))
}
