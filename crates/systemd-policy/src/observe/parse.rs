//! The few forms that the kernel's files have. Nothing here takes memory.

use super::Pressure;

/// The words of a line, or of a file.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The lines of a file.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

/// A whole number in decimals; no sign, nothing around it. One that does not fit is none.
pub(crate) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The first number in a file.
pub(super) fn only_number(bytes: &[u8]) -> Option<u64> {
    words(bytes).next().and_then(number)
}

/// The bytes that a line such as `MemTotal:   16303412 kB` says, if it is the one with this name (with its colon).
pub(super) fn kib_line(line: &[u8], name: &[u8]) -> Option<u64> {
    let mut rest = words(line.strip_prefix(name)?);
    number(rest.next()?)?.checked_mul(1024)
}

/// The number of a line such as `inactive_file 4096`, in a file of them.
pub(super) fn keyed(bytes: &[u8], key: &[u8]) -> Option<u64> {
    lines(bytes).find_map(|line| {
        let mut words = words(line);
        (words.next() == Some(key)).then(|| words.next().and_then(number))?
    })
}

/// Seconds with a fraction, as in `uptime`.
pub(super) fn seconds(word: &[u8]) -> Option<f64> {
    let seconds: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    (0.0..1e12).contains(&seconds).then_some(seconds)
}

/// The two lines of PSI: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and `full …`.
pub(super) fn pressure(bytes: &[u8]) -> Option<Pressure> {
    let [some, full] = [&b"some"[..], b"full"].map(|name| {
        let line = lines(bytes).find_map(|line| line.strip_prefix(name))?;
        let average = |key: &[u8]| {
            let word = words(line).find_map(|word| word.strip_prefix(key))?;
            let percent: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(percent)
        };
        Some([average(b"avg10=")?, average(b"avg60=")?, average(b"avg300=")?])
    });
    let ([some_avg10, some_avg60, some_avg300], [full_avg10, full_avg60, full_avg300]) = (some?, full?);
    Some(Pressure { some_avg10, some_avg60, some_avg300, full_avg10, full_avg60, full_avg300 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_whole_and_fit() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for none in [&b""[..], b"18446744073709551616", b"-1", b"+1", b"1.0", b"max", b"\xff"] {
            assert_eq!(number(none), None, "{none:?}");
        }
        assert_eq!(kib_line(b"VmSwap:\t     12 kB", b"VmSwap:"), Some(12 << 10));
        assert_eq!(kib_line(b"VmSwap:\t18446744073709551615 kB", b"VmSwap:"), None);
        assert_eq!(keyed(b"a 1\ninactive_file 7\n", b"inactive_file"), Some(7));
    }

    #[test]
    fn pressure_is_read_from_its_two_lines() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.10 total=420046\nfull avg10=0.50 avg60=0.05 avg300=0.00 total=1\n";
        let pressure = pressure(text.as_bytes()).unwrap();
        assert_eq!((pressure.some_avg10, pressure.full_avg60), (1.5, 0.05));
        assert_eq!(super::pressure(b"some avg10=1.50 avg60=0.25 avg300=0.10 total=1\n"), None);
        for none in ["NaN", "-1", "100.5", "1e99", ""] {
            assert_eq!(super::pressure(text.replace("1.50", none).as_bytes()), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (pressure(&bytes), only_number(&bytes), seconds(&bytes), keyed(&bytes, b"a"), kib_line(&bytes, b""));
        }

        #[test]
        fn numbers_are_read_back(value in any::<u64>()) {
            prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }
    }
}
