//! Who may recall which memory, and what a query resembles
