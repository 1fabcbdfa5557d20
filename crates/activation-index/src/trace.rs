//! The activation trace: which contexts may recall which memories, looked up from both sides in constant time (R25).
//! Memories are numbers here; which id a number stands for is the index's business.
//!
//! Contexts are interned: a name is kept once, and forgotten when no memory is left in it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::IndexError;

/// The number of a memory, given by the index.
pub(crate) type EntryNumber = u32;
type ContextNumber = u32;

/// A many-to-many relation between memories and contexts.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    numbers: HashMap<Arc<str>, ContextNumber>,
    contexts: Vec<Context>,
    /// Context numbers whose context was forgotten.
    free: Vec<ContextNumber>,
    /// Where in its context's members a memory stands; a key is a trace.
    positions: HashMap<(ContextNumber, EntryNumber), u32>,
}

#[derive(Debug, Default)]
struct Context {
    name: Arc<str>,
    members: Vec<EntryNumber>,
}

/// The contexts of one memory, in the order in which they were added. Held by the index beside the memory.
#[derive(Debug, Default)]
pub(crate) struct TraceOf(Vec<ContextNumber>);

impl Traces {
    /// Says whether `more` contexts would still have numbers.
    pub(crate) fn check_room(&self, more: usize) -> Result<(), IndexError> {
        let room = u32::MAX as usize - self.contexts.len();
        if more <= room { Ok(()) } else { Err(IndexError::Full { what: "contexts" }) }
    }

    /// Adds `context` to the trace of `entry`; says whether it is new there. The caller has checked the room.
    pub(crate) fn add(&mut self, entry: EntryNumber, trace: &mut TraceOf, context: &str) -> bool {
        let number = self.intern(context);
        let members = &mut self.contexts[number as usize].members;
        match self.positions.entry((number, entry)) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(vacant) => {
                // Fits: there are no more members than entries, which have 32-bit numbers.
                vacant.insert(members.len() as u32);
                members.push(entry);
                trace.0.push(number);
                true
            }
        }
    }

    fn intern(&mut self, name: &str) -> ContextNumber {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let name: Arc<str> = name.into();
        let context = Context { name: Arc::clone(&name), members: Vec::new() };
        let number = if let Some(number) = self.free.pop() {
            self.contexts[number as usize] = context;
            number
        } else {
            self.contexts.push(context);
            (self.contexts.len() - 1) as ContextNumber
        };
        self.numbers.insert(name, number);
        number
    }

    /// Forgets every trace of `entry`, in time proportional to their number.
    pub(crate) fn remove(&mut self, entry: EntryNumber, trace: TraceOf) {
        for number in trace.0 {
            let Some(position) = self.positions.remove(&(number, entry)) else { continue };
            let context = &mut self.contexts[number as usize];
            context.members.swap_remove(position as usize);
            if let Some(&moved) = context.members.get(position as usize) {
                self.positions.insert((number, moved), position);
            }
            if context.members.is_empty() {
                let Context { name, .. } = std::mem::take(context);
                self.numbers.remove(&name);
                self.free.push(number);
            }
        }
    }

    /// The memories that `context` may recall, in no particular order.
    pub(crate) fn members(&self, context: &str) -> &[EntryNumber] {
        self.numbers.get(context).map_or(&[], |&number| &self.contexts[number as usize].members)
    }

    /// Whether `context` is in the trace of `entry`.
    pub(crate) fn contains(&self, entry: EntryNumber, context: &str) -> bool {
        self.numbers.get(context).is_some_and(|&number| self.positions.contains_key(&(number, entry)))
    }

    /// The names of the contexts in a trace.
    pub(crate) fn names<'t>(&'t self, trace: &'t TraceOf) -> impl ExactSizeIterator<Item = &'t str> {
        trace.0.iter().map(|&number| &*self.contexts[number as usize].name)
    }

    /// The names of all contexts.
    pub(crate) fn all_contexts(&self) -> impl Iterator<Item = &str> {
        self.numbers.keys().map(|name| &**name)
    }

    /// How many traces there are: pairs of a memory and a context.
    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R25
    #[test]
    fn a_context_is_forgotten_with_its_last_memory_and_its_number_used_again() {
        let mut traces = Traces::default();
        let (mut a, mut b) = (TraceOf::default(), TraceOf::default());
        assert!(traces.add(1, &mut a, "x"));
        assert!(!traces.add(1, &mut a, "x"));
        assert!(traces.add(2, &mut b, "x"));
        assert!(traces.add(2, &mut b, "y"));
        traces.remove(1, a);
        assert_eq!(traces.members("x"), [2]);
        traces.remove(2, b);
        assert_eq!((traces.all_contexts().count(), traces.len()), (0, 0));
        let mut c = TraceOf::default();
        assert!(traces.add(3, &mut c, "z"));
        assert_eq!(traces.contexts.len(), 2);
        assert_eq!(traces.names(&c).collect::<Vec<_>>(), ["z"]);
    }
}
