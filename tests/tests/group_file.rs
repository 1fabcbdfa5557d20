//! `test-groups.toml` says what it should of this project's own groups, and names tests that are there (R33).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{fs, path::Path};

use test_groups::{Concurrency, Config, Runner};

const TESTS: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_file_names_the_four_groups_and_their_tests_are_there() {
    // R33
    let config = Config::read(&Path::new(TESTS).join("../test-groups.toml")).unwrap();
    let names: Vec<&str> = config.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["embeddings", "agents", "consciousness", "mcp"]);
    for group in &config.groups {
        assert!(group.question.ends_with('?'), "{:?} is no question", group.question);
        assert_eq!((group.runner, group.packages.as_slice()), (Runner::CargoTest, &[][..]));
        assert_eq!(group.binaries, [format!("group_{}", group.name)]);
        let source =
            fs::read_to_string(Path::new(TESTS).join("tests").join(format!("{}.rs", group.binaries[0])));
        let source = source.unwrap();
        assert!(source.contains("#[test]"));
        for variable in group.environment.keys() {
            assert!(
                source.contains(&format!("\"{variable}\"")),
                "{variable} means nothing to {}",
                group.name
            );
        }
        assert!(group.timeout.is_some() && group.group_timeout.is_some(), "{} may hang", group.name);
    }
}

#[test]
fn each_group_runs_as_its_tests_need_it() {
    // R33
    let config = Config::read(&Path::new(TESTS).join("../test-groups.toml")).unwrap();
    let ways: Vec<_> = config.groups.iter().map(|group| (group.concurrency, group.fail_fast)).collect();
    let (isolated, sequential) = (Concurrency::Isolated, Concurrency::Sequential);
    assert_eq!(ways, [(isolated, false), (sequential, true), (isolated, false), (sequential, false)]);
}
