//! Which kernels a program has, and how many parameters each takes, read from its PTX text. The driver reads as many
//! arguments as there are parameters, wherever they are; so they are counted before.

/// A kernel of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// How many parameters; `None` where one of them is more than a number of at most eight bytes.
    pub(super) parameters: Option<usize>,
}

/// The kernels, in the order of the text.
pub(super) fn entries(ptx: &str) -> Vec<Entry> {
    let plain = without_comments(ptx);
    let mut found = Vec::new();
    let mut rest = plain.as_str();
    while let Some(at) = rest.find(".entry") {
        rest = &rest[at + ".entry".len()..];
        let name: String = rest.trim_start().chars().take_while(|&c| is_of_a_name(c)).collect();
        if !rest.starts_with(char::is_whitespace) || name.is_empty() {
            continue;
        }
        rest = &rest.trim_start()[name.len()..];
        found.push(Entry { parameters: parameters(rest), name });
    }
    found
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%')
}

/// What stands in the parentheses after the name, if any do.
fn parameters(after_name: &str) -> Option<usize> {
    let Some(list) = after_name.trim_start().strip_prefix('(') else { return Some(0) };
    let (list, _) = list.split_once(')')?;
    if list.trim().is_empty() {
        return Some(0);
    }
    let mut count = 0;
    for parameter in list.split(',') {
        let words: Vec<&str> = parameter.split_whitespace().collect();
        let plain = |word: &&&str| {
            matches!(
                **word,
                ".u8"
                    | ".u16"
                    | ".u32"
                    | ".u64"
                    | ".s8"
                    | ".s16"
                    | ".s32"
                    | ".s64"
                    | ".b8"
                    | ".b16"
                    | ".b32"
                    | ".b64"
                    | ".f16"
                    | ".f32"
                    | ".f64"
            )
        };
        let is_number = words.first() == Some(&".param") && words.iter().filter(plain).count() == 1;
        if !is_number || parameter.contains('[') {
            return None;
        }
        count += 1;
    }
    Some(count)
}

fn without_comments(ptx: &str) -> String {
    let mut plain = String::with_capacity(ptx.len());
    let mut rest = ptx;
    while let Some(at) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        plain.push_str(&rest[..at]);
        plain.push(' ');
        let (comment, end) =
            if rest[at..].starts_with("//") { (&rest[at..], "\n") } else { (&rest[at + 2..], "*/") };
        rest = comment.split_once(end).map_or("", |(_, after)| after);
        if end == "\n" {
            plain.push('\n');
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str, parameters: Option<usize>) -> Entry {
        Entry { name: name.into(), parameters }
    }

    #[test]
    fn kernels_and_their_parameters_are_counted() {
        let ptx = "\
            .version 7.0 // .entry not_this\n/* .entry nor(.param .u64 this) */\n\
            .visible .entry first(\n .param .u64 a,\n .param .u64 .ptr .global .align 16 b, // c,\n .param .f32 d\n)\n{ ret; }\n\
            .entry none() { } .entry bare { }\n\
            .entry $odd_1(.param .align 8 .b8 structure[24]) { }\n\
            .func helper(.param .u64 x) { }";
        let found = entries(ptx);
        let wanted =
            [entry("first", Some(3)), entry("none", Some(0)), entry("bare", Some(0)), entry("$odd_1", None)];
        assert_eq!(found, wanted);
    }

    #[test]
    fn text_that_breaks_off_has_no_kernel_that_can_be_launched() {
        assert_eq!(entries(".entry"), []);
        assert_eq!(entries(".entry x(.param .u64"), [entry("x", None)]);
        assert_eq!(entries("/* .entry x()"), []);
        assert_eq!(entries(".entry x(.param .u64 a, )"), [entry("x", None)]);
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(\\.entry|//|/\\*|\\*/|\\(|\\)|,|\\.param|\\.u64|[a-zä ]|\n){0,40}") {
            prop_assert!(entries(&text).len() <= text.matches(".entry").count());
        }
    }
}
