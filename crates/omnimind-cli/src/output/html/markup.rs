//! HTML that is put together so that only literals of this crate can be markup. Everything else is text, whatever its
//! bytes are: logs are written by programs that nobody checked.

use std::fmt::{self, Display, Write as _};

use crate::output::printable;

/// Attributes of an element: names are literals, values are escaped.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// A piece of a page.
#[derive(Debug, Default)]
pub(crate) struct Markup(String);

impl Markup {
    pub(crate) fn into_string(self) -> String {
        self.0
    }

    /// Markup of this crate: a literal.
    pub(crate) fn literal(&mut self, literal: &'static str) {
        self.0.push_str(literal);
    }

    pub(crate) fn text(&mut self, text: impl Display) {
        self.escaped(&text);
    }

    /// An element that contains others.
    pub(crate) fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        inside(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element that contains text.
    pub(crate) fn text_element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        text: impl Display,
    ) {
        self.element(name, attributes, |inside| inside.text(text));
    }

    /// A start tag.
    pub(crate) fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            self.0.push(' ');
            self.0.push_str(key);
            self.0.push_str("=\"");
            self.escaped(value);
            self.0.push('"');
        }
        self.0.push('>');
    }

    fn escaped(&mut self, text: &dyn Display) {
        // Writing to memory fails only if `text` itself says so, and then what it wrote stays.
        let _ = write!(Escaping(&mut self.0), "{text}");
    }
}

/// Makes text of what is written to it.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for symbol in printable(text).chars() {
            match symbol {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                _ => self.0.push(symbol),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_and_attributes_cannot_become_markup() {
        let mut markup = Markup::default();
        let evil = "\"><script>alert('x')</script>&amp;\0\x1b[1m\u{202e}";
        markup.text_element("td", &[("title", &evil)], evil);
        let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;␀␛[1m\u{fffd}";
        assert_eq!(markup.into_string(), format!("<td title=\"{escaped}\">{escaped}</td>"));
    }

    proptest! {
        #[test]
        fn whatever_the_text_is_no_tag_begins_in_it(text in any::<String>()) {
            let mut markup = Markup::default();
            markup.text(&text);
            let escaped = markup.into_string();
            prop_assert!(!escaped.contains(['<', '>', '"', '\'', '\0', '\x1b']));
            prop_assert_eq!(escaped.chars().filter(|symbol| *symbol == '\n').count(), text.matches('\n').count());
        }
    }
}
