//! Amounts of memory as programs print them: `20.00 MiB`, `1,234 bytes`, `18.3G`.

/// The amount at the beginning of a text, in bytes. Without a unit it is bytes; `MB` and `M` are binary, as those who print
/// them mean it.
pub(crate) fn leading_bytes(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let end = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b',' || *b == b'.').count();
    let digits = text[..end].trim_end_matches(['.', ',']);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.len() > 40 {
        return None;
    }
    let digits: String = digits.chars().filter(|c| *c != ',').collect();
    let unit = text[end..].trim_start();
    let unit = &unit[..unit.bytes().take_while(u8::is_ascii_alphabetic).count()];
    let power = match unit.as_bytes().first().map(u8::to_ascii_lowercase) {
        _ if !is_unit(unit) => 0,
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(b'p') => 5,
        _ => 0,
    };
    match digits.parse::<u64>() {
        Ok(whole) => Some(whole.saturating_mul(1 << (10 * power))),
        // A conversion that is too big for the type gives the biggest.
        Err(_) => digits.parse::<f64>().ok().map(|value| (value * (1_u64 << (10 * power)) as f64) as u64),
    }
}

fn is_unit(unit: &str) -> bool {
    let letters = unit.as_bytes();
    match letters {
        [prefix] => b"kKMGTP".contains(prefix),
        [prefix, b'B' | b'b'] | [prefix, b'i', b'B' | b'b'] => b"kKmMGgTtPp".contains(prefix),
        _ => false,
    }
}

/// The amount behind the first occurrence of `words`.
pub(crate) fn bytes_after(text: &str, words: &str) -> Option<u64> {
    let at = text.find(words)?;
    leading_bytes(&text[at + words.len()..])
}

/// The amount before the first occurrence of `words`: `2.90 GiB already allocated`. Its unit may be absent.
pub(crate) fn bytes_before(text: &str, words: &str) -> Option<u64> {
    let before = text[..text.find(words)?].trim_end();
    let last = before.rsplit(' ').next()?;
    let start = if last.starts_with(|c: char| c.is_ascii_digit()) {
        before.len() - last.len()
    } else {
        let number = before[..before.len() - last.len()].trim_end();
        number.len() - number.rsplit([' ', '(']).next()?.len()
    };
    leading_bytes(&before[start..])
}

/// The whole number at the beginning of a text.
pub(crate) fn leading_number(text: &str) -> Option<u64> {
    let text = text.trim_start();
    text[..text.bytes().take_while(u8::is_ascii_digit).count()].parse().ok()
}

/// An amount for people, in binary units: `3.81 GiB`.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.995 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_in_every_form_that_is_printed() {
        for (text, bytes) in [
            ("20.00 MiB (GPU 0;", Some(20 << 20)),
            ("8,589,934,592 bytes", Some(8 << 30)),
            ("17179869184", Some(16 << 30)),
            ("1.5G of hbm", Some(3 << 29)),
            ("123kB", Some(123 << 10)),
            ("4.00GiB.", Some(4 << 30)),
            ("7 Metres", Some(7)),
            ("1024.", Some(1024)),
            ("{size} MiB", None),
            (".5 MiB", None),
            ("99999999999999999999999 GiB", Some(u64::MAX)),
        ] {
            assert_eq!(leading_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn amounts_are_found_before_and_behind_words() {
        let text = "(GPU 0; 3.81 GiB total capacity; 2.90 GiB already allocated; 512 bytes free)";
        assert_eq!(bytes_before(text, " already allocated"), Some((2.90 * (1_u64 << 30) as f64) as u64));
        assert_eq!(bytes_before(text, " free"), Some(512));
        assert_eq!(bytes_before(text, " total capacity"), Some((3.81 * (1_u64 << 30) as f64) as u64));
        assert_eq!(bytes_before("free", "free"), None);
        assert_eq!(bytes_after("allocate 2 KiB", "allocate "), Some(2048));
    }
}
