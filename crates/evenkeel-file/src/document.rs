use evenkeel_registry::{Event, TroubleKind};
use smol_str::SmolStr;

use crate::fields::{Table, present};
use crate::node::Node;
use crate::{Answer, Fault, Syntax, eds, format, json, toml, yaml};

/// A file that was read: which services it lists, and what it says about each.
///
/// The format is known by its keys: `services` for [evenkeel's own](mod@format), `resources`, `cluster_name` or
/// `clusterName` for [Envoy's](eds).
///
/// ```
/// use evenkeel_file::{Document, Syntax};
/// let text = r#"
/// version = 1
/// [[services.users.endpoints]]
/// id = "users-1"
/// address = "10.0.0.1:8080"
/// "#;
/// let document = Document::parse(text.as_bytes(), Syntax::Toml)?;
/// assert_eq!(document.service("users")?.endpoints[0].id().as_str(), "users-1");
/// # Ok::<(), evenkeel_file::Fault>(())
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    format: Format,
    root: Node,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Own,
    Eds,
}

impl Document {
    /// Reads the text. O(length); memory is bounded by two million values, and 64 levels.
    ///
    /// # Errors
    ///
    /// [`Fault`] if the whole cannot be read. What is wrong with single entries is in [`Answer::bad`].
    pub fn parse(text: &[u8], syntax: Syntax) -> Result<Self, Fault> {
        let text = std::str::from_utf8(text).map_err(|error| {
            let line = text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            Fault::new(line, "not UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim().is_empty() {
            return Err(Fault::new(1, "the file is empty"));
        }
        let root = match syntax {
            Syntax::Toml => toml::parse(text),
            Syntax::Yaml => yaml::parse(text),
            Syntax::Json => json::parse(text),
        }?;
        let format = format_of(root.map("the file")?)
            .ok_or_else(|| root.fault("neither `services` (evenkeel) nor `resources` (Envoy EDS) is here"))?;
        match format {
            Format::Own => format::check(&root)?,
            Format::Eds => eds::check(&root)?,
        }
        Ok(Self { format, root })
    }

    /// The services that it lists, in the order of the file, or of their names.
    #[must_use]
    pub fn services(&self) -> Vec<SmolStr> {
        match self.format {
            Format::Own => format::services(&self.root),
            Format::Eds => eds::services(&self.root),
        }
    }

    /// What it says about a service.
    ///
    /// # Errors
    ///
    /// [`Fault`] if it does not list it, or not as a list. A service that is missing is no proof that it has no
    /// endpoints: it may be spelt wrongly.
    pub fn service(&self, name: &str) -> Result<Answer, Fault> {
        match self.format {
            Format::Own => format::service(&self.root, name),
            Format::Eds => eds::service(&self.root, name),
        }
    }

    /// What to tell a registry of a text: never nothing.
    #[must_use]
    pub fn events(text: &[u8], syntax: Syntax, service: &str) -> Vec<Event> {
        match Self::parse(text, syntax).and_then(|document| document.service(service)) {
            Ok(answer) => answer.into_events(),
            Err(fault) => vec![Event::trouble(TroubleKind::Malformed, fault.to_string())],
        }
    }

    pub(crate) fn missing(root: &Node, name: &str, services: &[SmolStr]) -> Fault {
        let known = services.iter().take(8).map(SmolStr::as_str).collect::<Vec<_>>().join(", ");
        let more = if services.len() > 8 { ", …" } else { "" };
        root.fault(format!("service {name:?} is not listed; those listed are: {known}{more}"))
    }
}

fn format_of(root: &Table) -> Option<Format> {
    let has = |key| present(root, key).is_some();
    if has("services") {
        Some(Format::Own)
    } else if ["resources", "cluster_name", "clusterName"].into_iter().any(has) {
        Some(Format::Eds)
    } else {
        None
    }
}
