//! `config`: the settings in effect, and where each came from.

use serde::Serialize;

use crate::config::Setting;
use crate::failure::Failure;
use crate::output::{Align, DIM, Paint, Table};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// The file that was read.
    file: Option<&'a str>,
    settings: &'a [Setting],
}

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let effective = &session.settings;
    let file = effective.file.as_ref().map(|file| file.to_string_lossy());
    session.output.result(&Answer { file: file.as_deref(), settings: &effective.settings }, |out| {
        let usual = effective.directory.join("omnimind.toml");
        match &file {
            Some(file) => writeln!(out, "{} {file}", "file".paint(DIM))?,
            None => writeln!(out, "{} none; {} would be read", "file".paint(DIM), usual.display())?,
        }
        let mut table = Table::new([("setting", Align::Left), ("value", Align::Left), ("from", Align::Left)]);
        for setting in &effective.settings {
            let cells = [setting.key.clone(), setting.value.to_string(), setting.origin.clone()];
            if setting.origin == "default" { table.styled_row(cells, DIM) } else { table.row(cells) }
        }
        table.write(out)
    })
}
