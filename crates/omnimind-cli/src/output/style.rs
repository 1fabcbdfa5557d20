//! The few colours there are, and what they mean. Codes are written always; the stream takes them out again where they
//! would not be seen.

use std::fmt::{self, Display};

use anstyle::{AnsiColor, Style};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Text in a style.
#[derive(Debug)]
pub(crate) struct Painted<T>(T, Style);

pub(crate) trait Paint: Sized {
    fn paint(self, style: Style) -> Painted<Self> {
        Painted(self, style)
    }
}

impl<T: Display> Paint for T {}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.1.render(), self.0, self.1.render_reset())
    }
}
