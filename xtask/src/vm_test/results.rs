//! What the machine said over its second serial port: a line of JSON for each event. The port is a wire that a dying kernel may
//! cut anywhere, so what is not a whole line of ours becomes a problem with its number, and nothing else is believed less.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::recorded::Tree;

/// Longer ones are not ours: the evidence of a scenario is cut at 8 KiB before it is sent, and escapes at most sixfold. A recorded
/// tree has some 20 KiB.
const LONGEST_LINE: usize = 64 << 10;
/// More would only repeat what the first say.
const MOST_PROBLEMS: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
enum Event {
    Started { scenario: String },
    Recorded { scenario: String, tree: String, files: BTreeMap<String, String> },
    Ended { scenario: String, passed: bool, seconds: u64, evidence: String },
    Done {},
}

/// What became of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed {
        seconds: u64,
        evidence: String,
    },
    Failed {
        seconds: u64,
        evidence: String,
    },
    /// It began; the machine ended before it did.
    Unfinished,
    /// The machine ended before its turn.
    NotRun,
}

impl Outcome {
    pub(super) fn passed(&self) -> bool {
        matches!(self, Self::Passed { .. })
    }
}

/// All that was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Results {
    /// Each scenario that was asked for, in that order.
    pub(super) scenarios: Vec<(String, Outcome)>,
    /// Whether the machine got to its end.
    pub(super) complete: bool,
    /// What scenarios recorded, in that order.
    pub(super) trees: Vec<Tree>,
    /// What could not be understood, in words.
    pub(super) problems: Vec<String>,
}

impl Results {
    /// Reads whatever came, for the scenarios that were asked for.
    pub(super) fn parse<'a>(said: &[u8], asked: impl Iterator<Item = &'a str>) -> Self {
        let scenarios = asked.map(|name| (name.to_owned(), Outcome::NotRun)).collect();
        let mut results = Self { scenarios, complete: false, trees: Vec::new(), problems: Vec::new() };
        for (number, line) in (1..).zip(said.split(|&byte| byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            if let Err(problem) = results.hear(line)
                && results.problems.len() < MOST_PROBLEMS
            {
                results.problems.push(format!("line {number} {problem}"));
            }
        }
        results
    }

    fn hear(&mut self, line: &[u8]) -> Result<(), String> {
        if line.len() > LONGEST_LINE {
            return Err(format!("has {} bytes, and ours have at most {LONGEST_LINE}", line.len()));
        }
        let event = serde_json::from_slice(line).map_err(|error| {
            let start = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            format!("is no event ({error}): {start:?}")
        })?;
        if self.complete {
            return Err("comes after the end".to_owned());
        }
        match event {
            Event::Started { scenario } => match self.outcome(&scenario)? {
                outcome @ Outcome::NotRun => *outcome = Outcome::Unfinished,
                _ => return Err(format!("starts {scenario:?} a second time")),
            },
            Event::Recorded { scenario, tree, files } => {
                if *self.outcome(&scenario)? != Outcome::Unfinished {
                    return Err(format!("records in {scenario:?}, which was not running"));
                }
                if self.trees.iter().any(|other| other.name == tree) {
                    return Err(format!("records {tree:?} a second time"));
                }
                self.trees.push(Tree::checked(tree, files)?);
            }
            Event::Ended { scenario, passed, seconds, evidence } => match self.outcome(&scenario)? {
                outcome @ Outcome::Unfinished if passed => *outcome = Outcome::Passed { seconds, evidence },
                outcome @ Outcome::Unfinished => *outcome = Outcome::Failed { seconds, evidence },
                _ => return Err(format!("ends {scenario:?}, which was not running")),
            },
            Event::Done {} => self.complete = true,
        }
        Ok(())
    }

    fn outcome(&mut self, scenario: &str) -> Result<&mut Outcome, String> {
        let found = self.scenarios.iter_mut().find(|(name, _)| name == scenario);
        found
            .map(|(_, outcome)| outcome)
            .ok_or_else(|| format!("names {scenario:?}, which was not asked for"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: [&str; 2] = ["boot", "units"];
    const GOOD: &str = "{\"event\":\"started\",\"scenario\":\"boot\"}\r\n\
        {\"event\":\"ended\",\"scenario\":\"boot\",\"passed\":true,\"seconds\":3,\"evidence\":\"ok: \\u001b up\\n\"}\r\n\
        {\"event\":\"started\",\"scenario\":\"units\"}\n\
        {\"event\":\"ended\",\"scenario\":\"units\",\"passed\":false,\"seconds\":1,\"evidence\":\"no\"}\n\
        {\"event\":\"done\"}\n";

    fn parse(said: impl AsRef<[u8]>) -> Results {
        Results::parse(said.as_ref(), ASKED.into_iter())
    }

    #[test]
    fn a_whole_run_gives_each_scenario_with_its_evidence() {
        let results = parse(GOOD);
        assert!(results.complete && results.problems.is_empty(), "{results:?}");
        let [(_, boot), (_, units)] = &results.scenarios[..] else { panic!("{results:?}") };
        assert_eq!(*boot, Outcome::Passed { seconds: 3, evidence: "ok: \u{1b} up\n".to_owned() });
        assert_eq!(*units, Outcome::Failed { seconds: 1, evidence: "no".to_owned() });
    }

    #[test]
    fn a_run_that_is_cut_short_is_incomplete_and_says_how_far_it_got() {
        let results = parse(GOOD.lines().take(3).collect::<Vec<_>>().join("\n"));
        assert!(!results.complete && results.problems.is_empty(), "{results:?}");
        assert!(results.scenarios[0].1.passed());
        assert_eq!(results.scenarios[1].1, Outcome::Unfinished);
        assert_eq!(parse("").scenarios[0].1, Outcome::NotRun);
    }

    #[test]
    fn what_a_running_scenario_recorded_comes_with_its_files() {
        let boot = GOOD.lines().next().unwrap();
        let tree = |name, path| {
            format!(
                "{{\"event\":\"recorded\",\"scenario\":\"boot\",\"tree\":\"{name}\",\
                 \"files\":{{\"{path}\":\"1.0\\n\",\"proc/uptime\":\"\"}}}}"
            )
        };
        let (one, other) = (tree("vm-one", "proc/1/stat"), tree("vm-other", "proc/1/stat"));
        let results = parse([boot, &one, &other].join("\n"));
        assert!(results.problems.is_empty(), "{results:?}");
        let names: Vec<&str> = results.trees.iter().map(|tree| tree.name.as_str()).collect();
        assert_eq!(names, ["vm-one", "vm-other"]);
        for (said, problem) in [
            (one.clone(), "records in \"boot\", which was not running"),
            ([boot, &one, &one].join("\n"), "records \"vm-one\" a second time"),
            ([boot, &tree("vm-one", "proc/../../x")].join("\n"), "below proc and sys"),
        ] {
            let results = parse(said);
            assert!(results.problems.len() == 1 && results.problems[0].contains(problem), "{results:?}");
        }
    }

    #[test]
    fn what_does_not_belong_is_a_problem_with_its_line() {
        let boot = GOOD.lines().next().unwrap();
        for (said, problem) in [
            ("hello", "line 1 is no event"),
            ("{\"event\":\"done\",\"more\":1}", "line 1 is no event"),
            ("{\"event\":\"started\",\"scenario\":\"other\"}", "which was not asked for"),
            (GOOD.lines().nth(1).unwrap(), "which was not running"),
            (&format!("{boot}\n{boot}"), "line 2 starts \"boot\" a second time"),
            (&format!("{{\"event\":\"done\"}}\n{boot}"), "line 2 comes after the end"),
            (&"x".repeat(LONGEST_LINE + 1), "has 65537 bytes"),
        ] {
            let results = parse(said);
            assert_eq!(results.problems.len(), 1, "{results:?}");
            assert!(results.problems[0].contains(problem), "{results:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_results_and_passes_only_for_lines_that_say_so(bytes: Vec<u8>) {
            let results = parse(&bytes);
            prop_assert_eq!(results.scenarios.len(), 2);
            prop_assert!(results.scenarios.iter().all(|(_, outcome)| *outcome == Outcome::NotRun));
            let says = bytes.split(|&byte| byte == b'\n').any(|line| !line.trim_ascii().is_empty());
            prop_assert_eq!(says, !results.problems.is_empty());
        }

        #[test]
        fn a_good_run_with_one_byte_changed_never_passes_what_failed(at in 0..GOOD.len(), byte: u8) {
            let mut said = GOOD.as_bytes().to_vec();
            said[at] = byte;
            let results = parse(&said);
            prop_assert!(!results.scenarios[1].1.passed());
            prop_assert!(results.problems.len() <= MOST_PROBLEMS);
        }

        #[test]
        fn a_run_that_is_cut_anywhere_before_its_end_is_not_complete(at in 0..GOOD.len() - 2) {
            let results = parse(&GOOD.as_bytes()[..at]);
            prop_assert!(!results.complete);
        }
    }
}
