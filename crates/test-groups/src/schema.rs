//! The JSON schemas of `test-groups.toml` and of the report, for editors and for programs that read reports. They are saved in
//! `schema/`.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::config::file::File;
use crate::config::value::{CONCURRENCIES, Limit, ON_OUT_OF_MEMORY, RUNNERS, Size, Time};
use crate::config::{Concurrency, OnOutOfMemory, Runner};
use crate::report::Report;

/// The schema of `test-groups.toml`.
#[must_use]
pub fn config_schema() -> Schema {
    let mut schema =
        SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<File>();
    // A key that may be absent cannot be null: TOML has no such value.
    RecursiveTransform(without_null).transform(&mut schema);
    schema
}

/// The schema of a saved [`Report`].
#[must_use]
pub fn report_schema() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Report>()
}

fn without_null(schema: &mut Schema) {
    let null = Value::from("null");
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| *kind != null);
        if let [only] = &mut types[..] {
            let only = only.take();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("anyOf") {
        kinds.retain(|kind| kind.get("type") != Some(&null));
        if let [Value::Object(only)] = &mut kinds[..] {
            let only = std::mem::take(only);
            schema.remove("anyOf");
            for (key, value) in only {
                schema.insert(key, value);
            }
        }
    }
}

/// Says that a type is written as one of these words.
macro_rules! words {
    ($type:ty, $name:literal, $words:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": $words.map(|(word, _)| word) })
            }
        }
    };
}

words!(Runner, "Runner", RUNNERS);
words!(OnOutOfMemory, "OnOutOfMemory", ON_OUT_OF_MEMORY);

impl JsonSchema for Concurrency {
    fn schema_name() -> Cow<'static, str> {
        "Concurrency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "string", "enum": CONCURRENCIES.map(|(word, _)| word) },
                {
                    "type": "object",
                    "properties": { "parallel": { "type": "integer", "minimum": 1 } },
                    "required": ["parallel"],
                    "additionalProperties": false,
                },
            ]
        })
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["30s", "5m", "1h 30m", "none"] })
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["50ms", "1s"] })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "string", "examples": ["3 GiB", "512 MiB", "4 GB"] },
                { "type": "integer", "minimum": 1 },
            ]
        })
    }
}
