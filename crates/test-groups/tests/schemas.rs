//! The saved schemas are those of the types.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::path::Path;

use test_groups::schema::{config_schema, report_schema};

/// Compares with the file; with `REFRESH_SCHEMAS=1` writes it.
fn is_current(file: &str, schema: &schemars::Schema) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(file);
    let current = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var_os("REFRESH_SCHEMAS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let saved = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        saved == current,
        "schema/{file} is not that of the types; refresh it with: \
         REFRESH_SCHEMAS=1 cargo test -p test-groups --features schema --test schemas"
    );
}

#[test]
fn the_schema_of_the_configuration_is_current() {
    is_current("test-groups.schema.json", &config_schema());
}

#[test]
fn the_schema_of_the_report_is_current() {
    is_current("report.schema.json", &report_schema());
}

#[test]
fn no_key_of_the_configuration_is_null_and_every_key_is_described() {
    let schema = config_schema();
    assert!(!serde_json::to_string(&schema).unwrap().contains("null"));
    let tables = schema.get("$defs").and_then(|defs| defs.as_object()).unwrap();
    for table in ["GroupTable", "Defaults", "Gpu", "CommandTable"] {
        let keys = tables[table]["properties"].as_object().unwrap();
        assert_eq!(tables[table]["additionalProperties"], false);
        for (key, value) in keys {
            assert!(value["description"].is_string(), "{key} of {table}");
        }
    }
    assert_eq!(tables["GroupTable"]["required"], serde_json::json!(["name", "runner"]));
    assert_eq!(tables["Runner"]["enum"], serde_json::json!(["nextest", "cargo-test", "pytest", "command"]));
}
