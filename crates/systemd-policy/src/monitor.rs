//! The daemon: looks, decides, acts and tells, round after round.
