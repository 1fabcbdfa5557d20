//! Doing what was decided, checking that it took effect, and taking it back.
