//! Drop-ins and the unit of the monitor: their text, installing and removing them.
