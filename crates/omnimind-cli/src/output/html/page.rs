//! The frame of a page: its style and its script are inside, and a policy names them by their hashes, so that a browser
//! runs no other and asks no network for anything.

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::markup::Markup;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What something means for whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
}

impl Tone {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One number of the summary.
#[derive(Debug)]
pub(crate) struct Tile {
    pub(crate) label: &'static str,
    pub(crate) value: String,
    pub(crate) tone: Tone,
}

/// The whole file.
pub(crate) fn page(title: &str, about: &[String], inside: impl FnOnce(&mut Markup)) -> String {
    let mut page = Markup::default();
    page.literal("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.open("meta", &[("http-equiv", &"Content-Security-Policy"), ("content", &policy())]);
    page.literal("\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.literal("<meta name=\"color-scheme\" content=\"light dark\">\n");
    page.text_element("title", &[], title);
    page.literal("\n<style>");
    page.literal(STYLE);
    page.literal("</style>\n</head>\n<body>\n");
    page.element("header", &[], |header| {
        header.text_element("h1", &[], title);
        for line in about {
            header.text_element("p", &[], line);
        }
    });
    page.literal("\n<main>\n");
    inside(&mut page);
    page.literal("</main>\n");
    page.text_element("footer", &[], format!("omnimind {}", env!("CARGO_PKG_VERSION")));
    page.literal("\n<script>");
    page.literal(SCRIPT);
    page.literal("</script>\n</body>\n</html>\n");
    page.into_string()
}

fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// A part of the page with its heading.
pub(crate) fn section(page: &mut Markup, heading: impl Display, inside: impl FnOnce(&mut Markup)) {
    page.element("section", &[], |section| {
        section.text_element("h2", &[], heading);
        inside(section);
    });
    page.literal("\n");
}

/// The numbers that matter most, side by side.
pub(crate) fn tiles(page: &mut Markup, tiles: &[Tile]) {
    page.element("dl", &[("class", &"tiles")], |list| {
        for Tile { label, value, tone } in tiles {
            list.element("div", &[("class", &tone.class())], |tile| {
                tile.text_element("dt", &[], label);
                tile.text_element("dd", &[], value);
            });
        }
    });
    page.literal("\n");
}

/// How often something is, as bars: each with what it is.
pub(crate) fn bars(page: &mut Markup, rows: &[(String, u64)]) {
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
    page.element("ul", &[("class", &"bars")], |list| {
        for (label, count) in rows {
            list.element("li", &[], |row| {
                row.text_element("span", &[], label);
                row.text_element("b", &[], count);
                row.element("svg", &[("aria-hidden", &"true")], |svg| {
                    let width = format!("{:.2}%", 100.0 * *count as f64 / most as f64);
                    svg.element("rect", &[("width", &width), ("height", &"100%"), ("rx", &2)], |_| ());
                });
            });
        }
    });
    page.literal("\n");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nothing_in_a_page_is_fetched_and_its_title_is_text() {
        let page = page("<b>log</b>", &["</p><script>x()</script>".to_owned()], |_| ());
        for fetches in ["src=", "href=", "url(", "@import", "http://", "https://", "<b>", "<script>x"] {
            assert!(!page.contains(fetches), "{fetches}");
        }
        // An element of style or script ends at the first such tag, wherever it stands.
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }

    /// The custom properties of a block of the style.
    fn colours(block: &str) -> BTreeMap<&str, [f64; 3]> {
        let channel = |hex: &str, at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let lines = block.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"));
        lines.map(|(name, hex)| (name, [1, 3, 5].map(|at| channel(&format!("#{hex}"), at)))).collect()
    }

    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let luminance = |[red, green, blue]: [f64; 3]| 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    /// What WCAG 2 asks for: 4.5 to 1 for text, 3 to 1 for what is drawn.
    #[test]
    fn text_stands_out_from_its_ground_in_light_and_dark() {
        let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").unwrap();
        for block in [light, dark] {
            let colours = colours(block);
            assert_eq!(colours.len(), 10, "{colours:?}");
            for ground in ["paper", "panel"] {
                for text in ["ink", "quiet", "accent", "good", "warn", "bad"] {
                    let contrast = contrast(colours[text], colours[ground]);
                    assert!(contrast >= 4.5, "{text} on {ground}: {contrast:.2}");
                }
                let edge = contrast(colours["edge"], colours[ground]);
                assert!(edge >= 3.0, "edge on {ground}: {edge:.2}");
            }
        }
    }
}
