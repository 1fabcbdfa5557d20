//! When to tell somebody, and how: rate-limited, with a word when it is over.
//!
//! [`Alerts`] decides, from what is wrong in each round, what is to be told; it has no clock and sends nothing. [`send`] sends.

mod send;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use send::{Failed, send};

/// The table `[memory.alerts]`. Every alert goes to the log; the other ways only if they are configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertConfig {
    /// How many alerts of one kind may be sent in any hour: 4. A recovery is sent with each, and not counted.
    pub most_per_hour: u32,
    /// A program and its arguments, given the alert as JSON on its standard input; none if empty.
    pub command: Vec<PathBuf>,
    /// How long each way may take, in seconds, 1 to 60: 10.
    pub timeout_s: u64,
    /// An address, `https://` or `http://`, to which the alert is posted as JSON (needs the feature `webhook`). Trusted are the
    /// authorities that the system trusts, or those in the file that `SSL_CERT_FILE` names.
    pub webhook: Option<String>,
    /// Whether the desktop shows it (`org.freedesktop.Notifications`): no.
    pub desktop: bool,
}

impl AlertConfig {
    /// The ways other than the log that are configured.
    #[must_use]
    pub fn ways(&self) -> Vec<&'static str> {
        let all = [
            ("command", !self.command.is_empty()),
            ("webhook", self.webhook.is_some()),
            ("desktop", self.desktop),
        ];
        all.into_iter().filter_map(|(way, configured)| configured.then_some(way)).collect()
    }

    /// # Errors
    ///
    /// [`Error::Config`] with the key, for a time out of its range and for an address that is none.
    pub(crate) fn check(&self) -> Result<()> {
        let invalid =
            |key: &str, reason: String| Err(Error::Config { key: format!("memory.alerts.{key}"), reason });
        if !(1..=LONGEST_S).contains(&self.timeout_s) {
            return invalid(
                "timeout_s",
                format!("{} is not a time from 1 to {LONGEST_S} seconds", self.timeout_s),
            );
        }
        if self.command.first().is_some_and(|program| program.as_os_str().is_empty()) {
            return invalid("command", "its first word is empty; it names the program".to_owned());
        }
        let is_address = |address: &String| {
            let host = ["https://", "http://"].iter().find_map(|scheme| address.strip_prefix(scheme));
            host.is_some_and(|host| !host.is_empty() && !host.contains(char::is_whitespace))
        };
        match &self.webhook {
            Some(address) if !is_address(address) => invalid(
                "webhook",
                format!("{address:?} is not an address; one such as https://example.org/hook is"),
            ),
            _ => Ok(()),
        }
    }
}

/// Who waits longer for an alert to arrive does not look after memory.
const LONGEST_S: u64 = 60;

impl Default for AlertConfig {
    fn default() -> Self {
        Self { most_per_hour: 4, command: Vec::new(), timeout_s: 10, webhook: None, desktop: false }
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// RAM is above its critical threshold.
    RamCritical,
    /// RAM is above its high threshold.
    RamHigh,
    /// Swap is above its threshold.
    SwapHigh,
    /// The card's memory is above its threshold.
    VramHigh,
    /// Tasks wait for memory.
    PressureHigh,
    /// RAM, swap or the card's memory will be exhausted soon.
    Forecast,
    /// A measure could not be done or undone.
    Measure,
    /// A round failed: something cannot be observed.
    Round,
    /// None of these: somebody tries whether alerts arrive.
    Trial,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What it is about.
    pub kind: Kind,
    /// Whether it is over.
    pub recovered: bool,
    /// For people: `RAM is 91 % used`, `RAM is below 80 % again after 12 min`.
    pub text: String,
}

/// What is wrong, and what was told. Its size is bounded by the kinds and by [`AlertConfig::most_per_hour`].
#[derive(Debug, Default)]
pub struct Alerts {
    kinds: BTreeMap<Kind, State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when it is wrong; `None` if it is not.
    since: Option<Duration>,
    /// Whether that was told.
    told: bool,
    /// When alerts were told, in the last hour.
    sent: VecDeque<Duration>,
}

const HOUR: Duration = Duration::from_hours(1);

impl Alerts {
    /// What is to be told of this kind now, if anything. `wrong` says what is wrong, and `well` what is well again when it is
    /// not: `RAM is below 80 % again`. `now` never goes back.
    ///
    /// An alert is told once when it begins. If too many were told in the last hour, it is told when the hour allows, if it is
    /// still wrong then. A recovery is told once, and only if the alert was.
    pub fn look(
        &mut self,
        kind: Kind,
        wrong: Option<&str>,
        well: &str,
        now: Duration,
        config: &AlertConfig,
    ) -> Option<Alert> {
        let state = self.kinds.entry(kind).or_default();
        while state.sent.front().is_some_and(|sent| now.saturating_sub(*sent) >= HOUR) {
            state.sent.pop_front();
        }
        let Some(wrong) = wrong else {
            let since = state.since.take()?;
            let text = format!("{well} after {}", in_words(now.saturating_sub(since)));
            return std::mem::take(&mut state.told).then_some(Alert { kind, recovered: true, text });
        };
        state.since.get_or_insert(now);
        if state.told || state.sent.len() >= config.most_per_hour as usize {
            return None;
        }
        state.told = true;
        state.sent.push_back(now);
        Some(Alert { kind, recovered: false, text: wrong.to_owned() })
    }

    /// Whether this is wrong as of the last look.
    #[must_use]
    pub fn is_wrong(&self, kind: Kind) -> bool {
        self.kinds.get(&kind).is_some_and(|state| state.since.is_some())
    }

    /// How much is remembered: the number of entries of all collections.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.kinds.values().map(|state| 1 + state.sent.len()).sum()
    }
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_wrong_is_told_once_and_then_that_it_is_over() {
        let (mut alerts, config) = (Alerts::default(), AlertConfig::default());
        let mut look = |wrong, now| {
            alerts
                .look(Kind::RamHigh, wrong, "RAM is below 80 % again", at(now), &config)
                .map(|alert| alert.text)
        };
        assert_eq!(look(None, 0), None);
        assert_eq!(look(Some("RAM is 91 % used"), 30).as_deref(), Some("RAM is 91 % used"));
        assert_eq!(look(Some("RAM is 92 % used"), 60), None);
        assert_eq!(look(None, 30 + 720).as_deref(), Some("RAM is below 80 % again after 12 min"));
        assert_eq!(look(None, 800), None);
    }

    #[test]
    fn what_cannot_be_an_address_or_a_time_is_refused_with_its_key() {
        let webhook =
            |address: &str| AlertConfig { webhook: Some(address.to_owned()), ..AlertConfig::default() };
        for address in ["https://example.org/hook?key=1", "http://127.0.0.1:80"] {
            assert!(webhook(address).check().is_ok(), "{address}");
        }
        for address in ["example.org/hook", "ftp://example.org", "https://", "https://a b"] {
            let error = webhook(address).check().unwrap_err().to_string();
            assert!(error.starts_with("memory.alerts.webhook: "), "{error}");
        }
        for timeout_s in [0, 61] {
            let error = AlertConfig { timeout_s, ..AlertConfig::default() }.check().unwrap_err().to_string();
            assert!(error.starts_with("memory.alerts.timeout_s: "), "{error}");
        }
        let nobody = AlertConfig { command: vec![PathBuf::new()], ..AlertConfig::default() };
        assert!(nobody.check().unwrap_err().to_string().starts_with("memory.alerts.command: "));
        assert_eq!((AlertConfig::default().ways(), webhook("http://a").ways()), (vec![], vec!["webhook"]));
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_allowed_and_a_recovery_follows_each_once(
            rounds in prop::collection::vec((0u64..1500, any::<bool>()), 0..300),
            most_per_hour in 0u32..5,
        ) {
            let (mut alerts, config) = (Alerts::default(), AlertConfig { most_per_hour, ..AlertConfig::default() });
            let (mut now, mut told, mut open) = (0, Vec::new(), false);
            for (step, wrong) in rounds {
                now += step;
                let alert = alerts.look(Kind::SwapHigh, wrong.then_some("wrong"), "well", at(now), &config);
                match alert {
                    Some(alert) if alert.recovered => {
                        prop_assert!(open && !wrong, "a recovery without an alert");
                        open = false;
                    }
                    Some(_) => {
                        prop_assert!(!open && wrong);
                        open = true;
                        told.push(now);
                    }
                    None => prop_assert!(!open || wrong, "it is over, and was not told"),
                }
                let lately = told.iter().filter(|time| now - **time < 3600).count();
                prop_assert!(lately <= most_per_hour as usize);
                // What is wrong and may be told is told.
                prop_assert!(!wrong || open || lately >= most_per_hour as usize);
                prop_assert!(alerts.remembered() <= 1 + most_per_hour as usize);
            }
        }
    }
}
