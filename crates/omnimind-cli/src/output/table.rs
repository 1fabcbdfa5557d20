//! A table of aligned columns with a quiet header: no lines, no padding at the end. Cells are plain text; a row may have
//! a colour.

use std::io::{self, Write};

use anstyle::Style;

use super::style::{DIM, Paint};

/// On which side of a column the text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<(Vec<String>, Style)>,
    indent: usize,
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<(&'static str, Align)>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), indent: 0 }
    }

    pub(crate) fn indented(self, indent: usize) -> Self {
        Self { indent, ..self }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.styled_row(cells, Style::new());
    }

    pub(crate) fn styled_row(&mut self, cells: impl Into<Vec<String>>, style: Style) {
        self.rows.push((cells.into(), style));
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let header: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|(row, _)| row.get(at));
            cells.chain(header.get(at)).map(|cell| columns_of(cell)).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let has_header = header.iter().any(|name| !name.is_empty());
        let lines = has_header.then_some((&header, DIM)).into_iter();
        for (cells, style) in lines.chain(self.rows.iter().map(|(cells, style)| (cells, *style))) {
            let mut line = " ".repeat(self.indent);
            for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - columns_of(cell));
                let right = self.columns.get(at).is_some_and(|(_, align)| *align == Align::Right);
                if at > 0 {
                    line.push_str("  ");
                }
                line.push_str(&if right { padding + cell } else { cell.clone() + &padding });
            }
            writeln!(out, "{}", line.trim_end().paint(style))?;
        }
        Ok(())
    }
}

/// Columns on a terminal. One per character: names of tensors and contexts in wide scripts stand a little crooked.
fn columns_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_with_text() {
        let mut table = Table::new([("name", Align::Left), ("bytes", Align::Right)]).indented(1);
        table.row(["a".to_owned(), "7".to_owned()]);
        table.row(["módulo".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let plain = anstream::adapter::strip_bytes(&out).into_vec();
        assert_eq!(String::from_utf8(plain).unwrap(), " name    bytes\n a           7\n módulo\n");
    }
}
