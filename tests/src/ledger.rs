//! What a writing process has said it did, for others to hold it to: a file of lines, each written after the fact, or before it
//! where the fact takes something away.

use std::{
    fs::{self, File},
    io::{Result, Write},
    path::Path,
};

/// The numbers of memories, as far as the ledger goes.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Stored, acknowledged, and not being forgotten.
    pub present: Vec<u64>,
    /// Forgotten, and that acknowledged.
    pub forgotten: Vec<u64>,
    /// Whether nothing more will be written.
    pub is_over: bool,
}

impl Ledger {
    /// Reads it. A line that is not yet whole counts for nothing.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut ledger = Self::default();
        for line in whole.lines() {
            let (word, number) = line.split_once(' ').unwrap_or((line, ""));
            let number = number.parse().unwrap_or_default();
            match word {
                "stored" => ledger.present.push(number),
                "forgetting" => ledger.present.retain(|&n| n != number),
                "forgotten" => ledger.forgotten.push(number),
                _ => ledger.is_over = true,
            }
        }
        Ok(ledger)
    }

    /// Adds lines of one word: `stored`, `forgetting` or `forgotten`; `over` is the last.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(path: impl AsRef<Path>, word: &str, numbers: impl IntoIterator<Item = u64>) -> Result<()> {
        let lines: Vec<_> = numbers.into_iter().map(|number| format!("{word} {number}\n")).collect();
        File::options().create(true).append(true).open(path)?.write_all(lines.concat().as_bytes())
    }
}
