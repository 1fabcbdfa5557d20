//! Whose process is it?

use std::collections::HashMap;

use crate::process::{RUN_VARIABLE, TEST_VARIABLE, parent_of, variable};

/// More generations than this are a circle.
const MOST_GENERATIONS: usize = 64;

/// Who a process belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// A test that runs.
    Test(usize),
    /// The group, but no test of it that runs: a worker between two tests, or what a test left behind.
    Group,
    /// Somebody else.
    Other,
}

/// `roots` are the processes that tests were started as, `run` and `group` what their marks begin with.
pub(super) fn whose(pid: u32, roots: &HashMap<u32, usize>, run: &str, group: &str) -> Whose {
    if let Some(test) = roots.get(&pid) {
        return Whose::Test(*test);
    }
    let marked = variable(pid, RUN_VARIABLE).is_some_and(|of| of == run);
    if marked && let Some(test) = variable(pid, TEST_VARIABLE).and_then(|mark| number(&mark, group)) {
        let runs = roots.values().any(|running| *running == test);
        return if runs { Whose::Test(test) } else { Whose::Group };
    }
    let mut parent = parent_of(pid);
    for _ in 0..MOST_GENERATIONS {
        match parent {
            None | Some(0 | 1) => break,
            Some(pid) => match roots.get(&pid) {
                Some(test) => return Whose::Test(*test),
                None => parent = parent_of(pid),
            },
        }
    }
    if marked { Whose::Group } else { Whose::Other }
}

/// The number of a test in its mark; a worker's mark has none.
fn number(mark: &str, group: &str) -> Option<usize> {
    mark.strip_prefix(group)?.strip_prefix('/')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_mark_goes_before_a_parent_and_a_parent_before_nothing() {
        let mut marked = Command::new("sleep");
        marked.arg("60").env(RUN_VARIABLE, "run").env(TEST_VARIABLE, "group/3");
        let mut marked = marked.spawn().unwrap();
        let mut worker = Command::new("sleep");
        worker.arg("60").env(RUN_VARIABLE, "run").env(TEST_VARIABLE, "group/worker-0");
        let mut worker = worker.spawn().unwrap();
        let mut plain = Command::new("sleep").arg("60").spawn().unwrap();

        let own = std::process::id();
        let roots = HashMap::from([(own, 7), (1_000_000_000, 3)]);
        let whose = |pid, roots: &HashMap<u32, usize>, run| whose(pid, roots, run, "group");
        // A child shows its own environment only once it has begun to be another program.
        while variable(marked.id(), TEST_VARIABLE).is_none() || variable(worker.id(), TEST_VARIABLE).is_none()
        {
            std::thread::yield_now();
        }
        assert_eq!(whose(marked.id(), &roots, "run"), Whose::Test(3));
        assert_eq!(whose(marked.id(), &HashMap::from([(own, 7)]), "run"), Whose::Group, "3 has ended");
        assert_eq!(whose(marked.id(), &roots, "another run"), Whose::Test(7), "its parent is 7");
        assert_eq!(whose(plain.id(), &roots, "run"), Whose::Test(7));
        assert_eq!(whose(plain.id(), &HashMap::new(), "run"), Whose::Other);
        assert_eq!(whose(worker.id(), &HashMap::new(), "run"), Whose::Group);
        assert_eq!(whose(own, &roots, "run"), Whose::Test(7));
        for child in [&mut marked, &mut worker, &mut plain] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
