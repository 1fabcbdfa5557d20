//! Values as the file writes them: words, amounts of memory, times. Each that is not understood says what would be.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::keys::nearest;
use super::{Concurrency, OnOutOfMemory, Runner};

/// A time longer than that is none.
const LONGEST: Duration = Duration::from_hours(366 * 24);

pub(crate) const RUNNERS: [(&str, Runner); 4] = [
    ("nextest", Runner::Nextest),
    ("cargo-test", Runner::CargoTest),
    ("pytest", Runner::Pytest),
    ("command", Runner::Command),
];

pub(crate) const CONCURRENCIES: [(&str, Concurrency); 3] = [
    ("isolated", Concurrency::Isolated),
    ("sequential", Concurrency::Sequential),
    ("adaptive", Concurrency::Adaptive),
];

pub(crate) const ON_OUT_OF_MEMORY: [(&str, OnOutOfMemory); 2] =
    [("fail", OnOutOfMemory::Fail), ("retry_on_cpu", OnOutOfMemory::RetryOnCpu)];

/// The word of a value.
pub(crate) fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

fn value<T: Copy, E: Error>(words: &[(&'static str, T)], word: &str) -> Result<T, E> {
    if let Some((_, value)) = words.iter().find(|(known, _)| *known == word) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("it is one of \"{}\"", known.join("\", \"")),
    };
    Err(E::custom(format_args!("unknown value \"{}\"; {hint}", short(word))))
}

/// A quote that does not fill the screen.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 60;
    let mut quoted: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        quoted.push('…');
    }
    quoted
}

/// Reads a string by a function.
struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Runner {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_str(Text("what runs the group, as text", |text| Ok(text.to_owned())))?;
        value(&RUNNERS, &text)
    }
}

impl<'de> Deserialize<'de> for OnOutOfMemory {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_str(Text("\"fail\" or \"retry_on_cpu\"", |text| Ok(text.to_owned())))?;
        value(&ON_OUT_OF_MEMORY, &text)
    }
}

impl<'de> Deserialize<'de> for Concurrency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct WordOrNumber;

        impl<'de> Visitor<'de> for WordOrNumber {
            type Value = Concurrency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"isolated\", \"sequential\", \"adaptive\" or { parallel = 4 }")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Concurrency, E> {
                if word == "parallel" {
                    return Err(E::custom("\"parallel\" needs a number: { parallel = 4 }"));
                }
                value(&CONCURRENCIES, word)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Concurrency, A::Error> {
                let mut tests = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "parallel" {
                        let key = short(&key);
                        return Err(A::Error::custom(format_args!(
                            "unknown key `{key}`; it is {{ parallel = 4 }}"
                        )));
                    }
                    tests = Some(map.next_value::<usize>()?);
                }
                match tests {
                    Some(0) => Err(A::Error::custom("parallel = 0 runs nothing; the least is 1")),
                    Some(tests) => Ok(Concurrency::Parallel(tests)),
                    None => Err(A::Error::custom("how many at once is missing: { parallel = 4 }")),
                }
            }
        }

        from.deserialize_any(WordOrNumber)
    }
}

/// A time for which something may go on; `None` for `"none"`, as long as it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text("a time such as \"5m\" or \"1h 30m\", or \"none\"", |text| match text {
            "none" => Ok(Self(None)),
            text => duration(text).map(|time| Self(Some(time))),
        }))
    }
}

/// A time that something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text("a time such as \"50ms\"", |text| duration(text).map(Self)))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err(format!("\"{}\" is no time at all", short(text))),
        Ok(time) if time > LONGEST => Err(format!(
            "\"{}\" is more than a year; for no limit leave it out, or say \"none\"",
            short(text)
        )),
        Ok(time) => Ok(time),
        Err(error) => {
            Err(format!("\"{}\" is no time: {error}; write \"30s\", \"5m\" or \"1h 30m\"", short(text)))
        }
    }
}

/// An amount of memory in bytes, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrNumber;

        impl Visitor<'_> for TextOrNumber {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of memory such as \"3 GiB\", or a number of bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                bytes(text).map(Size).ok_or_else(|| {
                    E::custom(format_args!(
                        "\"{}\" is no amount of memory; write \"3 GiB\", \"512 MiB\" (of 1024) or \"4 GB\" (of 1000)",
                        short(text)
                    ))
                })
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Size, E> {
                match u64::try_from(number) {
                    Ok(bytes) if bytes > 0 => Ok(Size(bytes)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                if bytes > 0 {
                    Ok(Size(bytes))
                } else {
                    Err(E::invalid_value(de::Unexpected::Unsigned(0), &self))
                }
            }
        }

        from.deserialize_any(TextOrNumber)
    }
}

/// `3 GiB`, `1.5GiB`, `512 MB`, `1024`, `100 B`; `None` for what is no amount, is nothing, or is more than a `u64` holds.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = (text.get(..digits)?, text.get(digits..)?.trim_start());
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).filter(|bytes| *bytes > 0);
    }
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let bytes = number.parse::<f64>().ok()? * unit as f64;
    // 2^64 and what is less than a byte are out of reach.
    (bytes >= 1.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory_are_binary_with_an_i_and_decimal_without() {
        for (text, expected) in [
            ("3 GiB", Some(3 << 30)),
            ("1.5gib", Some(3 << 29)),
            ("512 MiB", Some(512 << 20)),
            ("4 GB", Some(4_000_000_000)),
            ("2g", Some(2 << 30)),
            ("1024", Some(1024)),
            ("100 B", Some(100)),
            ("0 GiB", None),
            ("", None),
            ("GiB", None),
            (".5 GiB", None),
            ("1.2.3 GiB", None),
            ("-1 GiB", None),
            ("3 GiBs", None),
            ("99999999999 TiB", None),
            ("99999999999.5 TiB", None),
            ("0.1 B", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
