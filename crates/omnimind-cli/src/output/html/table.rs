//! A table that can be sorted by each of its columns. It scrolls in a box of its own, so that the page never does.

use super::markup::{Attributes, Markup};
use super::page::Tone;
use crate::output::Bytes;

/// A column, with what its cells are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    /// Sorted as people sort words, with the numbers in them.
    Text(&'static str),
    /// Sorted by value, the largest first.
    Number(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number(_) => "number",
        }
    }
}

/// What stands in one place.
#[derive(Debug)]
pub(crate) enum Cell {
    Text(String),
    /// A sentence, which may take several lines.
    Long(String),
    /// A name as a program writes it.
    Code(String),
    /// A number, and how it is shown.
    Number(f64, String),
    /// A word that says how good or bad it is.
    Toned(Tone, String),
    /// Lines of logs, folded away.
    Quotes(Vec<String>),
    /// Nothing is known.
    Missing,
}

impl Cell {
    pub(crate) fn count(count: u64) -> Self {
        Self::Number(count as f64, count.to_string())
    }

    pub(crate) fn bytes(bytes: Option<u64>) -> Self {
        bytes.map_or(Self::Missing, |bytes| Self::Number(bytes as f64, Bytes(bytes).to_string()))
    }

    fn write(&self, row: &mut Markup, column: Option<&Column>) {
        match self {
            Self::Text(text) => row.text_element("td", &[], text),
            Self::Long(text) => row.text_element("td", &[("class", &"long")], text),
            Self::Code(text) => row.text_element("td", &[("class", &"code")], text),
            Self::Number(value, shown) => {
                row.text_element("td", &[("class", &"number"), ("data-value", value)], shown);
            }
            Self::Toned(tone, text) => row.element("td", &[("class", &tone.class())], |cell| {
                cell.text_element("span", &[("class", &"tone")], text);
            }),
            Self::Quotes(quotes) if quotes.is_empty() => Self::Missing.write(row, column),
            Self::Quotes(quotes) => row.element("td", &[], |cell| {
                cell.element("details", &[], |details| {
                    let shown = if quotes.len() == 1 { "show" } else { "show all" };
                    details.text_element("summary", &[], shown);
                    for quote in quotes {
                        details.text_element("pre", &[], quote);
                    }
                });
            }),
            Self::Missing => {
                let class = column.copied().map_or("", Column::class);
                row.text_element("td", &[("class", &class)], '\u{2013}');
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct SortableTable {
    /// What it shows, for who cannot see where it stands.
    pub(crate) caption: &'static str,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl SortableTable {
    pub(crate) fn new(caption: &'static str, columns: impl Into<Vec<Column>>) -> Self {
        Self { caption, columns: columns.into(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    pub(crate) fn write(&self, page: &mut Markup) {
        let scroll: Attributes<'_> =
            &[("class", &"scroll"), ("tabindex", &0), ("role", &"region"), ("aria-label", &self.caption)];
        page.element("div", scroll, |page| {
            page.element("table", &[("class", &"sortable")], |table| {
                table.text_element("caption", &[], self.caption);
                table.literal("<thead><tr>");
                for column in &self.columns {
                    let attributes: Attributes<'_> = &[("scope", &"col"), ("class", &column.class())];
                    table.text_element("th", attributes, column.name());
                }
                table.literal("</tr></thead>\n<tbody>\n");
                for cells in &self.rows {
                    table.element("tr", &[], |row| {
                        let columns = self.columns.iter().map(Some).chain(std::iter::repeat(None));
                        cells.iter().zip(columns).for_each(|(cell, column)| cell.write(row, column));
                    });
                    table.literal("\n");
                }
                table.literal("</tbody>");
            });
        });
        page.literal("\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_their_value_and_what_is_not_known_has_none() {
        let mut table = SortableTable::new("files", [Column::Text("file"), Column::Number("bytes")]);
        table.row([Cell::Code("a<b".to_owned()), Cell::Number(1024.0, "1.00 KiB".to_owned())]);
        table.row([Cell::Quotes(Vec::new()), Cell::Missing]);
        let mut page = Markup::default();
        table.write(&mut page);
        let html = page.into_string();
        assert!(html.contains("<td class=\"code\">a&lt;b</td>"), "{html}");
        assert!(html.contains("<td class=\"number\" data-value=\"1024\">1.00 KiB</td>"), "{html}");
        assert_eq!(html.matches("data-value").count(), 1);
    }
}
