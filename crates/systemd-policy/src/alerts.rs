//! When to tell somebody, and how: rate-limited, with a word when it is over.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The table `[memory.alerts]`. Every alert goes to the log; the other ways only if they are configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertConfig {
    /// How many alerts of one kind may be sent in any hour: 4. A recovery is sent with each, and not counted.
    pub most_per_hour: u32,
    /// A program and its arguments, given the alert as JSON on its standard input; none if empty.
    pub command: Vec<PathBuf>,
    /// How long the command or the webhook may take, in seconds: 10.
    pub timeout_s: u64,
    /// An `http://` address to which the alert is posted as JSON (needs the feature `webhook`).
    pub webhook: Option<String>,
    /// Whether the desktop shows it (`org.freedesktop.Notifications`): no.
    pub desktop: bool,
}

impl Default for AlertConfig {
    fn default() -> Self {
        Self { most_per_hour: 4, command: Vec::new(), timeout_s: 10, webhook: None, desktop: false }
    }
}
