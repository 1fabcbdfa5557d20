//! The saved schema is that of the types, and reports have its shape.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::path::Path;

use oom_forensics::generate::{Plan, bytes};
use oom_forensics::schema::schema;
use oom_forensics::{Analyzer, Config, Report};
use serde_json::Value;

#[test]
fn the_schema_of_the_report_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/report.schema.json");
    let current = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("REFRESH_SCHEMAS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &current).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == current,
        "schema/report.schema.json is not that of the types; refresh it with: \
         REFRESH_SCHEMAS=1 cargo test -p oom-forensics --features schema --test schema"
    );
}

/// What is wrong with a value, by the words that our schema uses; a word that it does not know is wrong, too.
fn faults(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    if let Some(boolean) = schema.as_bool() {
        if !boolean {
            found.push(format!("{place}: nothing may be here"));
        }
        return;
    }
    let mut fault = |words: String| found.push(format!("{place}: {words}"));
    let fits = |schema: &Value| {
        let mut found = Vec::new();
        faults(root, schema, value, place, &mut found);
        found.is_empty()
    };
    for (word, wanted) in schema.as_object().unwrap() {
        match word.as_str() {
            // What is inside is looked at below.
            "properties" | "items" | "$schema" | "$defs" | "title" | "description" | "format" | "default" => {
            }
            "$ref" => {
                let target = root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap();
                if !fits(target) {
                    faults(root, target, value, place, found);
                    return;
                }
            }
            "type" => {
                let is = |kind: &Value| match kind.as_str().unwrap() {
                    "null" => value.is_null(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                };
                if !wanted.as_array().map_or_else(|| is(wanted), |kinds| kinds.iter().any(is)) {
                    fault(format!("{value} is not {wanted}"));
                }
            }
            "required" => {
                for key in wanted.as_array().unwrap() {
                    if value.get(key.as_str().unwrap()).is_none() {
                        fault(format!("{key} is missing"));
                    }
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|value| value < wanted.as_f64().unwrap()) {
                    fault(format!("{value} < {wanted}"));
                }
            }
            "maximum" => {
                if value.as_f64().is_some_and(|value| value > wanted.as_f64().unwrap()) {
                    fault(format!("{value} > {wanted}"));
                }
            }
            "const" => {
                if value != wanted {
                    fault(format!("{value} is not {wanted}"));
                }
            }
            "enum" => {
                if !wanted.as_array().unwrap().contains(value) {
                    fault(format!("{value} is none of {wanted}"));
                }
            }
            "anyOf" | "oneOf" => {
                if !wanted.as_array().unwrap().iter().any(fits) {
                    fault(format!("{value} fits none of {wanted}"));
                }
            }
            other => panic!("the schema says {other}, which this test does not know"),
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        if let Some(properties) = schema.get("properties") {
            match properties.get(key) {
                Some(schema) => faults(root, schema, inner, &format!("{place}.{key}"), found),
                None => found.push(format!("{place}.{key}: it is not in the schema")),
            }
        }
    }
    if let Some(schema) = schema.get("items") {
        for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
            faults(root, schema, inner, &format!("{place}[{at}]"), found);
        }
    }
}

fn report() -> Report {
    let (log, _) = bytes(&Plan::default());
    let mut analyzer = Analyzer::new(Config::standard().unwrap());
    analyzer.read("pytest.log", &log[..]).unwrap();
    analyzer.finish()
}

fn all_faults(report: &Value) -> Vec<String> {
    let schema = schema().to_value();
    let mut found = Vec::new();
    faults(&schema, &schema, report, "report", &mut found);
    found
}

#[test]
fn a_full_report_and_an_empty_one_have_the_shape_of_the_schema() {
    let full = serde_json::to_value(report()).unwrap();
    assert_eq!(all_faults(&full), Vec::<String>::new());
    let empty = Analyzer::new(Config::standard().unwrap()).finish();
    assert_eq!(all_faults(&serde_json::to_value(empty).unwrap()), Vec::<String>::new());
}

#[test]
fn a_report_of_another_shape_has_not() {
    let full = serde_json::to_value(report()).unwrap();
    let broken = |break_it: fn(&mut Value)| {
        let mut report = full.clone();
        break_it(&mut report);
        all_faults(&report).len()
    };
    assert_eq!(broken(|report| report["oom_total"] = Value::from("188")), 1);
    assert_eq!(broken(|report| report["schema"] = Value::from(2)), 1);
    assert_eq!(broken(|report| report["more"] = Value::Null), 1);
    assert_eq!(broken(|report| report["first_ooms"][3]["cause"] = Value::from("bad luck")), 1);
    assert_eq!(broken(|report| drop(report["by_file"][0].as_object_mut().unwrap().remove("ooms"))), 1);
}
