//! Hash tables that are searched where they lie: a power of two of numbers, each one more than what it stands for, 0 where there
//! is none; what collides goes to the next free place.

use xxhash_rust::xxh3::xxh3_64;

/// The table for things with these keys, at most half full.
pub(super) fn build<'k>(keys: impl ExactSizeIterator<Item = &'k [u8]>) -> Vec<u32> {
    let mut table = vec![0; (keys.len() * 2).next_power_of_two()];
    for (number, key) in keys.enumerate() {
        let free = places(&table, key).find(|&place| table[place] == 0);
        if let Some(place) = free {
            table[place] = number as u32 + 1;
        }
    }
    table
}

/// The number of the thing with a key.
pub(super) fn find(table: &[u32], key: &[u8], is_it: impl Fn(u32) -> bool) -> Option<u32> {
    places(table, key)
        .map(|place| table[place])
        .take_while(|&number| number != 0)
        .map(|n| n - 1)
        .find(|&n| is_it(n))
}

/// Where in a table to look, one place after the other.
fn places(table: &[u32], key: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let len = table.len();
    let first = if len == 0 { 0 } else { xxh3_64(key) as usize % len };
    (first..len).chain(0..first)
}
