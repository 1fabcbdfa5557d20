//! Where this host gets Debian from, according to its own apt: the repository names no host.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The first mirror of the `main` component of a release in apt's configuration.
pub(super) fn of_release(release: &str) -> Result<String> {
    let folder = Path::new("/etc/apt");
    let mut files = vec![folder.join("sources.list")];
    if let Ok(entries) = fs::read_dir(folder.join("sources.list.d")) {
        let mut more: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    let mirror = files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        match file.extension()?.to_str()? {
            "list" => in_list(&text, release),
            "sources" => in_stanzas(&text, release),
            _ => None,
        }
    });
    mirror.with_context(|| {
        format!(
            "no source in {} has Debian's {release} main; add one, or run this on a Debian host",
            folder.display()
        )
    })
}

/// `deb [options] URI SUITE COMPONENT...`
fn in_list(text: &str, release: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        (suite == release && words.any(|word| word == "main")).then(|| uri.to_owned())
    })
}

/// Stanzas of `Field: values`, a line that begins with a space continuing the one before, divided by empty lines.
fn in_stanzas(text: &str, release: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).find_map(|stanza| {
        let field = |name: &str| -> Vec<&str> {
            let mut inside = false;
            let mut values = Vec::new();
            for line in stanza {
                let value = if line.starts_with([' ', '\t']) {
                    line
                } else {
                    let (key, value) = line.split_once(':').unwrap_or((line, ""));
                    inside = key.trim().eq_ignore_ascii_case(name);
                    value
                };
                if inside {
                    values.extend(value.split_whitespace());
                }
            }
            values
        };
        let right = field("Types").contains(&"deb")
            && field("Suites").contains(&release)
            && field("Components").contains(&"main")
            && !field("Enabled").contains(&"no");
        right.then(|| field("URIs").first().map(|uri| (*uri).to_owned()))?
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_gives_the_mirror_of_its_release_only() {
        let text = "# deb http://no/debian bookworm main\n\
            deb-src http://src/debian bookworm main\n\
            deb http://other/debian trixie main\n\
            deb http://security/debian bookworm-security main\n\
            deb\t[arch=amd64 signed-by=/a b] http://yes/debian  bookworm contrib main # here\n";
        assert_eq!(in_list(text, "bookworm").as_deref(), Some("http://yes/debian"));
        assert_eq!(in_list(text, "trixie").as_deref(), Some("http://other/debian"));
        assert_eq!(in_list(text, "sid"), None);
    }

    #[test]
    fn a_stanza_gives_the_mirror_of_its_release_only() {
        let text = "Types: deb\nURIs: http://off/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\n\
            Types: deb-src\nURIs: http://src/debian\nSuites: bookworm\nComponents: main\n\n\
            Types: deb deb-src\n# a remark\nURIs:\n http://yes/debian\nSuites: bookworm-updates\n bookworm\n\
            components: contrib main\n";
        assert_eq!(in_stanzas(text, "bookworm").as_deref(), Some("http://yes/debian"));
        assert_eq!(in_stanzas(text, "trixie"), None);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_mirror_or_none(text in "(?s)[deb \\[\\]:#\n\ta-zA-Z]{0,200}") {
            let _ = (in_list(&text, "bookworm"), in_stanzas(&text, "bookworm"));
        }
    }
}
