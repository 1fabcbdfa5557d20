//! The JSON schema of a saved report, for programs that read one. It is kept in `schema/report.schema.json`.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use crate::report::{Report, SCHEMA};

/// The schema of a saved [`Report`]; of its version it admits only [`SCHEMA`].
#[must_use]
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Report>();
    if let Some(version) =
        schema.pointer_mut("/properties/schema").and_then(|version| version.as_object_mut())
    {
        version.insert("const".to_owned(), SCHEMA.into());
    }
    schema
}
