//! The substrings by which a line is found that may say something. What is found by them is read with care elsewhere.
//!
//! A vectorised search compares the first four bytes of a needle (three, if one of its group has no more), half a byte at
//! a time, and in eight groups; whatever passes is compared again, one by one, which is what costs. So a needle begins with
//! what is rare in a log: capitals, punctuation. `BFCArena` is found, and not `Failed to allocate memory` behind it.

/// Results, headers and status codes: three bytes, or capitals. A newline at the beginning is that of the line before.
pub(super) const SHORT: &[&str] = &[
    // Pytest's progress: `[ 12%]`, at the end of a line or behind a worker, plain or in colour.
    "%]\n",
    "%]\r",
    "%] ",
    "%]\u{1b}",
    // Headers, plain, in colour, or behind a time stamp. A long title leaves room for one sign only.
    "\n==",
    "\n= ",
    "m==",
    "m= ",
    "\n__",
    "\n_ ",
    "m__",
    "m_ ",
    "Z ==",
    "Z __",
    // Results.
    "PASS",
    "FAIL",
    "ERROR at ",
    "ERROR collecting",
    "XFAIL",
    "SIGK",
    "SIGS",
    "SIGA",
    "TIMEOUT",
    "STDOUT:",
    "STDERR:",
    // Status codes and names.
    "OUT_OF_M",
    "ALLOC_F",
    "ALLOCATION_F",
    "RESOURCE_E",
    "OOM when",
    "BFCArena",
    "CPUAlloc",
];

/// Everything else. The order matters: a needle shares its bucket with the one eight places on, and with all that begin like
/// either. Neighbours are chosen so that together they pass no word that logs are full of; shared as they came, they passed
/// one position in 200, and the search took five times as long.
pub(super) const LONG: &[&str] = &[
    "ut of memory",
    "py::",
    ".py .",
    "rs [", // Workers of pytest: `8 workers [4479 items]`.
    "... ok",
    "`gpu_mem",
    ": ok. ", // The last line of cargo.
    "::bad_alloc",
    // And beside them:
    "\u{2500}\u{2500}",
    "MemoryError",
    "OutOfMem",
    "GPU memory u",
    "/deps/", // The binaries of cargo.
    "-kill:",
    "\n---",
    // These begin like others.
    ".py F",
    ".py E",
    ".py s",
    ".py x",
    ".py X",
    "... ignored",
    "MemoryAllocation",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_fits_into_one_vectorised_search() {
        for group in [SHORT, LONG] {
            assert!(group.len() <= 32 && group.iter().all(|needle| (3..64).contains(&needle.len())));
        }
        assert!(LONG.iter().all(|needle| needle.len() > 3));
    }
}
