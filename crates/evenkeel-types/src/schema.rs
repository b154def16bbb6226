//! JSON Schemas of what is written otherwise than it is kept.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{Endpoint, endpoint_form};

/// Stands for a duration in schemas: a text such as `250ms` or `1m 30s`. It is never made.
#[derive(Clone, Copy, Debug)]
pub enum HumanDuration {}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration: numbers with units (ns, us, ms, s, m, h, days), such as \"250ms\" or \"1m 30s\".",
            "pattern": "^\\s*\\d+\\s*[a-zA-Zµ]+(\\s*\\d+\\s*[a-zA-Zµ]+)*\\s*$"
        })
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <endpoint_form::Form as JsonSchema>::json_schema(generator)
    }
}

impl JsonSchema for crate::Ratio {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1, "description": "A share from 0 to 1." })
    }
}
