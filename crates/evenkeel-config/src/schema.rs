use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::model::Config;

/// The JSON Schema of a configuration (draft 2020-12), made from the types: editors complete by it, and pipelines check files
/// before they are shipped.
///
/// It knows every key, form and default. It does not know what only [`check`](crate::Loaded::check) finds: references between
/// parts, ranges that depend on each other, and other names of keys (`inter` for `interval`) that are read all the same.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.root_schema_for::<Config>();
    schema.insert("title".to_owned(), Value::from(Config::schema_name()));
    schema.to_value()
}
