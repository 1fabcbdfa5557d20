//! Which keys a table knows, where they stand in the file, and which one was meant.

use std::ops::Range;

use serde::Deserialize;
use serde::de::value::Error as ProbeError;
use serde::de::{Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;
use toml::de::DeTable;

use super::file::{CommandTable, Defaults, File, Gpu, GroupTable};
use super::value::short;

/// Something that is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Bytes from the beginning of the file.
    pub(super) at: usize,
    pub(super) text: String,
}

/// All keys that their table does not know.
pub(super) fn unknown(root: &DeTable<'_>, problems: &mut Vec<Problem>) {
    table(root, known::<File>(), "", problems);
    if let Some(defaults) = table_of(root, "defaults") {
        table(defaults, known::<Defaults>(), " in [defaults]", problems);
        gpu(defaults, " in `gpu` of [defaults]", problems);
    }
    for place in 0..groups(root) {
        let Some(group) = group(root, place) else { continue };
        let named = group_name(root, place);
        table(group, known::<GroupTable>(), &format!(" in {named}"), problems);
        gpu(group, &format!(" in `gpu` of {named}"), problems);
        let commands = group.get("command").and_then(|value| value.get_ref().as_array());
        for command in commands.into_iter().flat_map(|commands| commands.iter()) {
            if let Some(command) = command.get_ref().as_table() {
                table(command, known::<CommandTable>(), &format!(" in a command of {named}"), problems);
            }
        }
    }
}

fn gpu(table_with: &DeTable<'_>, place: &str, problems: &mut Vec<Problem>) {
    if let Some(gpu) = table_of(table_with, "gpu") {
        table(gpu, known::<Gpu>(), place, problems);
    }
}

fn table(table: &DeTable<'_>, known_keys: &[&'static str], place: &str, problems: &mut Vec<Problem>) {
    for key in table.keys().filter(|key| !known_keys.contains(&key.get_ref().as_ref())) {
        let name: &str = key.get_ref();
        let hint = if place.is_empty() && known::<Defaults>().contains(&name) {
            "it belongs in [defaults] or in a [[group]]".to_owned()
        } else if place == " in [defaults]" && known::<GroupTable>().contains(&name) {
            "it has no default, and belongs in a [[group]]".to_owned()
        } else if let Some(near) = nearest(name, known_keys.iter().copied()) {
            format!("did you mean `{near}`?")
        } else {
            format!("there are `{}`", known_keys.join("`, `"))
        };
        problems.push(Problem {
            at: key.span().start,
            text: format!("unknown key `{}`{place}; {hint}", short(name)),
        });
    }
}

/// How many groups there are.
fn groups(root: &DeTable<'_>) -> usize {
    root.get("group").and_then(|value| value.get_ref().as_array()).map_or(0, |groups| groups.len())
}

fn group<'t, 'i>(root: &'t DeTable<'i>, place: usize) -> Option<&'t DeTable<'i>> {
    root.get("group")?.get_ref().as_array()?.get(place)?.get_ref().as_table()
}

fn table_of<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t DeTable<'i>> {
    table.get(key)?.get_ref().as_table()
}

/// For messages: `group "agents"`, or `group 2` if it has no name.
pub(super) fn group_name(root: &DeTable<'_>, place: usize) -> String {
    let name =
        group(root, place).and_then(|group| group.get("name")).and_then(|name| name.get_ref().as_str());
    name.filter(|name| !name.is_empty())
        .map_or_else(|| format!("group {}", place + 1), |name| format!("group \"{}\"", short(name)))
}

/// Where a group begins.
pub(super) fn group_at(root: &DeTable<'_>, place: usize) -> usize {
    let groups = root.get("group").and_then(|value| value.get_ref().as_array());
    groups.and_then(|groups| groups.get(place)).map_or(0, |group| group.span().start)
}

/// Where a key of a group stands, if it is there.
pub(super) fn key_at(root: &DeTable<'_>, place: usize, key: &str) -> Option<usize> {
    group(root, place)?.get_key_value(key).map(|(key, _)| key.span().start)
}

/// Where a command of a group begins.
pub(super) fn command_at(root: &DeTable<'_>, place: usize, command: usize) -> usize {
    let commands = group(root, place).and_then(|group| group.get("command"));
    commands
        .and_then(|commands| commands.get_ref().as_array()?.get(command))
        .map_or_else(|| group_at(root, place), |command| command.span().start)
}

/// The one that was probably meant.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    /// Two words are near if so much of them is the same.
    const NEAR: f64 = 0.6;
    /// Nobody means a key that is longer.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(&word, &known.replace('-', "_")), known))
        .filter(|(likeness, known)| *likeness >= NEAR || (word.len() > 2 && known.starts_with(&word)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// The keys of a table, as its type says.
fn known<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // It asks for its keys and is given no value: that is the error.
    let _ = T::deserialize(Probe(&mut keys));
    keys
}

/// Is asked for the keys of a struct, and keeps them.
struct Probe<'k>(&'k mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = ProbeError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ProbeError> {
        Err(ProbeError::custom("only keys are asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ProbeError> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// `line 3, column 7`, counted from 1, in characters.
pub(super) fn position(text: &str, at: usize) -> String {
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    format!("line {line}, column {column}")
}

/// The beginning of what an error is about.
pub(super) fn start(span: Option<Range<usize>>) -> usize {
    span.map_or(0, |span| span.start)
}
