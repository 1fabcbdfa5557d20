//! What the README says of the configuration is so.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::path::Path;

use test_groups::{Concurrency, Config};

const README: &str = include_str!("../README.md");

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let text = README.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = Config::parse(text, Path::new("README.md")).unwrap();
    let names: Vec<&str> = config.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["embeddings", "agents", "mcp"]);
    assert_eq!(config.groups[2].concurrency, Concurrency::Parallel(3));
    assert!(config.groups.iter().all(|group| group.gpu_budget_bytes == Some(3 << 30)));
}

#[test]
fn every_key_of_the_schema_is_in_the_readme() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../schema/test-groups.schema.json")).unwrap();
    for table in ["GroupTable", "Defaults", "Gpu", "CommandTable"] {
        for key in schema["$defs"][table]["properties"].as_object().unwrap().keys() {
            let written = [format!("`{key}`"), format!("`[[group.{key}]]`")];
            assert!(written.iter().any(|key| README.contains(key.as_str())), "{key} of {table}");
        }
    }
}
