//! `docs/configuration.md` is written from the schema. Run with `EVENKEEL_BLESS=1` to write it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]
// The page is about all kinds of discovery, which the program has.
#![cfg(feature = "cli")]

use std::fmt::Write;

use evenkeel_config::schema;
use serde_json::{Map, Value};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

const HEAD: &str = "# Configuration\n\nEvery key, its form, its default and the reason for it. This page is written from the types (`tests/reference.rs` of
`evenkeel-config`): do not edit it. The same keys stand in TOML, YAML and JSON; an unknown one is an error. What survives a
reload, what errors look like and the bounds are in the [README](../crates/evenkeel-config/README.md) of the crate; examples
are in [`config/`](../config).\n";

#[test]
fn the_page_is_fresh() {
    let schema = schema();
    let mut page = HEAD.to_owned();
    section(&mut page, "The file", &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        section(&mut page, name, definition);
    }
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let copy = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(copy == page, "docs/configuration.md is old: run this test with EVENKEEL_BLESS=1");
}

fn section(page: &mut String, name: &str, definition: &Value) {
    writeln!(page, "\n## {name}\n").unwrap();
    if let Some(text) = definition["description"].as_str() {
        writeln!(page, "{}\n", prose(text)).unwrap();
    }
    if let Some(properties) = definition["properties"].as_object() {
        table(page, definition, properties);
        return;
    }
    let forms = definition["oneOf"].as_array().or_else(|| definition["anyOf"].as_array());
    for form in forms.into_iter().flatten() {
        let tag = form["properties"]["type"]["enum"].as_array().map(|names| list(names));
        match form["properties"].as_object() {
            Some(properties) => {
                if let Some(names) = tag {
                    writeln!(page, "`type` = {names}\n").unwrap();
                }
                if let Some(text) = form["description"].as_str() {
                    writeln!(page, "{}\n", prose(text)).unwrap();
                }
                table(page, form, properties);
                page.push('\n');
            }
            None => {
                let text = form["description"].as_str().unwrap_or_default();
                writeln!(
                    page,
                    "- {}{}",
                    kind(form),
                    if text.is_empty() { String::new() } else { format!(": {}", line(text)) }
                )
                .unwrap();
            }
        }
    }
    if forms.is_none() {
        writeln!(page, "{}", kind(definition)).unwrap();
    }
}

fn table(page: &mut String, definition: &Value, properties: &Map<String, Value>) {
    writeln!(page, "| key | form | default | |\n|---|---|---|---|").unwrap();
    let required = definition["required"].as_array().cloned().unwrap_or_default();
    for (key, property) in properties {
        if key == "type" && property["enum"].is_array() {
            continue;
        }
        let needed = required.iter().any(|name| name == key);
        let default = match property.get("default") {
            _ if needed => "must be given".to_owned(),
            Some(default) if default.to_string().len() <= 40 => format!("`{}`", cell(&default.to_string())),
            Some(_) => "see its section".to_owned(),
            None => "–".to_owned(),
        };
        let text = property["description"].as_str().unwrap_or_default();
        writeln!(page, "| `{key}` | {} | {default} | {} |", kind(property), cell(&line(text))).unwrap();
    }
}

fn kind(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", cell(&value.to_string()));
    }
    if let Some(names) = schema["enum"].as_array() {
        return list(names);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(forms) = schema[key].as_array() {
            let forms: Vec<String> = forms.iter().filter(|form| form["type"] != "null").map(kind).collect();
            return forms.join(" or ");
        }
    }
    let names = match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => vec!["any"],
    };
    let name = |name: &str| match name {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("table of {}", kind(&schema["additionalProperties"]))
        }
        "object" => {
            let keys: Vec<String> = schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| format!("`{key}`"))
                .collect();
            if keys.is_empty() { "table".to_owned() } else { format!("table with {}", keys.join(", ")) }
        }
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        other => other.to_owned(),
    };
    names.into_iter().map(name).collect::<Vec<_>>().join(" or ")
}

fn list(names: &[Value]) -> String {
    names
        .iter()
        .map(|name| format!("`{}`", cell(name.as_str().unwrap_or_default())))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The text without the links of rustdoc, which lead nowhere here, and without its examples.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            out += line;
            out.push('\n');
        }
    }
    let mut plain = String::new();
    let mut rest = out.as_str();
    while let Some(start) = rest.find('[') {
        let (before, after) = rest.split_at(start);
        plain += before;
        let Some(end) = after.find(']') else { break };
        let tail = &after[end + 1..];
        plain += &after[1..end];
        rest = if tail.starts_with('(') {
            tail.find(')').map_or(tail, |close| &tail[close + 1..])
        } else {
            tail
        };
    }
    plain += rest;
    plain.trim().to_owned()
}

fn line(text: &str) -> String {
    prose(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
