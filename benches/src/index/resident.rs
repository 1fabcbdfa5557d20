//! The memory that this process holds, as Linux counts it.

use anyhow::{Context, Result};

/// Anonymous memory and pages of files, in bytes.
///
/// # Errors
/// If `/proc` does not say.
pub fn bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("/proc/self/status says no {name}"))
    };
    Ok(field("RssAnon")? + field("RssFile")?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_written_to_is_resident() {
        let before = super::bytes().unwrap();
        let held = vec![1_u8; 64 << 20];
        let grown = super::bytes().unwrap() - before;
        assert!(grown >= (held.len() as u64) / 10 * 9, "{grown}");
    }
}
