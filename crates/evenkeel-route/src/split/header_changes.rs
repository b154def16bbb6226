use thiserror::Error;

use crate::matching::is_token;

/// What is changed in the header of a request before it is sent on, and of the answer before it is returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HeaderRules {
    /// In the request.
    pub request: Vec<HeaderChange>,
    /// In the response.
    pub response: Vec<HeaderChange>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum HeaderChange {
    /// One more value.
    Add {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// This value instead of all that are there.
    Set {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// This value, if there is none.
    SetIfAbsent {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// None any more.
    Remove {
        /// The name.
        name: String,
    },
}

/// Changes that were checked, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges(Box<[HeaderChange]>);

/// The changes of both directions, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// For the request.
    pub request: HeaderChanges,
    /// For the response.
    pub response: HeaderChanges,
}

impl HeaderEdits {
    /// Checks changes of both directions.
    ///
    /// # Errors
    ///
    /// [`HeaderChangeError`] names the first that cannot be made.
    pub fn new(rules: &HeaderRules) -> Result<Self, HeaderChangeError> {
        Ok(Self {
            request: HeaderChanges::new(&rules.request, "request")?,
            response: HeaderChanges::new(&rules.response, "response")?,
        })
    }
}

impl HeaderChanges {
    fn new(changes: &[HeaderChange], field: &str) -> Result<Self, HeaderChangeError> {
        for (i, change) in changes.iter().enumerate() {
            let (name, value) = match change {
                HeaderChange::Add { name, value }
                | HeaderChange::Set { name, value }
                | HeaderChange::SetIfAbsent { name, value } => (name, value.as_str()),
                HeaderChange::Remove { name } => (name, ""),
            };
            let at = || format!("{field}[{i}]");
            if !is_token(name) {
                return Err(HeaderChangeError::Name { field: at(), name: name.clone() });
            }
            // What decides where a message ends must not be changed by a table.
            if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
                return Err(HeaderChangeError::Framing { field: at(), name: name.clone() });
            }
            if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                return Err(HeaderChangeError::Value { field: at(), value: value.to_owned() });
            }
        }
        Ok(Self(changes.into()))
    }

    /// Makes them.
    pub fn apply(&self, fields: &mut (impl HeaderFields + ?Sized)) {
        for change in &self.0 {
            match change {
                HeaderChange::Add { name, value } => fields.add(name, value),
                HeaderChange::Set { name, value } => {
                    fields.remove(name);
                    fields.add(name, value);
                }
                HeaderChange::SetIfAbsent { name, value } => {
                    if !fields.contains(name) {
                        fields.add(name, value);
                    }
                }
                HeaderChange::Remove { name } => fields.remove(name),
            }
        }
    }

    /// The changes.
    #[must_use]
    pub fn as_slice(&self) -> &[HeaderChange] {
        &self.0
    }
}

/// Header fields that can be changed. Names are compared without regard to case.
pub trait HeaderFields {
    /// Whether there is such a field.
    fn contains(&self, name: &str) -> bool;
    /// One more.
    fn add(&mut self, name: &str, value: &str);
    /// None any more.
    fn remove(&mut self, name: &str);
}

impl HeaderFields for Vec<(String, Vec<u8>)> {
    fn contains(&self, name: &str) -> bool {
        self.iter().any(|(field, _)| field.eq_ignore_ascii_case(name))
    }

    fn add(&mut self, name: &str, value: &str) {
        self.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    fn remove(&mut self, name: &str) {
        self.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
    }
}

#[cfg(feature = "http")]
impl HeaderFields for http::HeaderMap {
    fn contains(&self, name: &str) -> bool {
        self.contains_key(name)
    }

    fn add(&mut self, name: &str, value: &str) {
        // Both were checked; a map that is full stays as it is.
        if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), http::HeaderValue::from_str(value))
        {
            let _ = self.try_append(name, value);
        }
    }

    fn remove(&mut self, name: &str) {
        if let Ok(name) = name.parse::<http::HeaderName>() {
            while Self::remove(self, &name).is_some() {}
        }
    }
}

/// A change that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderChangeError {
    /// The name is no token.
    #[error("{field}.name is {name:?}: not a header name")]
    Name {
        /// The field.
        field: String,
        /// The name.
        name: String,
    },
    /// The field decides where a message ends.
    #[error("{field}.name is {name:?}: the transport alone may change it")]
    Framing {
        /// The field.
        field: String,
        /// The name.
        name: String,
    },
    /// The value holds a control character.
    #[error("{field}.value is {value:?}: control characters are not allowed")]
    Value {
        /// The field.
        field: String,
        /// The value.
        value: String,
    },
}

const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "connection"];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    fn changes() -> HeaderChanges {
        let add = |(name, value)| HeaderChange::Add { name, value };
        let set = |(name, value)| HeaderChange::Set { name, value };
        let all = [
            HeaderChange::Remove { name: "X-Gone".into() },
            add(text("x-more", "2")),
            set(text("X-One", "new")),
            HeaderChange::SetIfAbsent { name: "x-one".into(), value: "never".into() },
            HeaderChange::SetIfAbsent { name: "x-fresh".into(), value: "1".into() },
        ];
        HeaderChanges::new(&all, "request").unwrap()
    }

    #[test]
    fn changes_are_made_in_order() {
        let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let mut fields =
            vec![field("x-gone", "1"), field("x-more", "1"), field("x-one", "a"), field("X-ONE", "b")];
        changes().apply(&mut fields);
        let expected = [("x-more", "1"), ("x-more", "2"), ("X-One", "new"), ("x-fresh", "1")];
        assert_eq!(fields, expected.map(|(name, value)| field(name, value)));
    }

    #[cfg(feature = "http")]
    #[test]
    fn header_maps_are_changed_too() {
        let mut map = http::HeaderMap::new();
        for (name, value) in [("x-gone", "1"), ("x-more", "1"), ("x-one", "a"), ("x-one", "b")] {
            HeaderFields::add(&mut map, name, value);
        }
        changes().apply(&mut map);
        assert_eq!(map.get_all("x-one").iter().collect::<Vec<_>>(), ["new"]);
        assert_eq!(map.get_all("x-more").iter().count(), 2);
        assert_eq!((map.contains_key("x-gone"), map.contains_key("x-fresh")), (false, true));
    }

    #[test]
    fn dangerous_changes_are_refused() {
        let refused = |name: &str, value: &str| {
            let change = HeaderChange::Set { name: name.into(), value: value.into() };
            HeaderChanges::new(&[change], "request").unwrap_err()
        };
        assert!(matches!(refused("a b", ""), HeaderChangeError::Name { .. }));
        assert!(matches!(refused("Content-Length", "0"), HeaderChangeError::Framing { .. }));
        assert!(matches!(refused("a", "x\r\ny: z"), HeaderChangeError::Value { .. }));
    }
}
