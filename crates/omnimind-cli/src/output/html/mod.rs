//! Reports as one HTML file each, for people: nothing is fetched, and what comes from logs can only be text.
//!
//! | module | its idea |
//! |---|---|
//! | `markup` | what is not written in this crate is escaped, always |
//! | `page` | the frame: style and script inside, and a policy that lets no other run |
//! | `table` | a table that can be sorted, by mouse and by keys |
//! | `chart` | memory over time, drawn here |

mod chart;
mod markup;
mod page;
mod table;

pub(crate) use chart::{Chart, Dot, Dots, Line, Mark, Span, XAxis};
pub(crate) use markup::Markup;
pub(crate) use page::{Tile, Tone, bars, page, section, tiles};
pub(crate) use table::{Cell, Column, SortableTable};
