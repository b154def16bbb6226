use std::fmt;

use thiserror::Error;

/// Bytes to send or to expect, written as text (`"PING\r\n"`) or, in a file, as `{ hex = "00ff" }`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Form", into = "Form")
)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes written as pairs of hexadecimal digits; white space between pairs is skipped.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] if there is another character, or half a pair.
    pub fn from_hex(text: &str) -> Result<Self, InvalidPayload> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|letter| !letter.is_ascii_whitespace())
            .map(|letter| letter.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or(InvalidPayload)?;
        Ok(Self(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The bytes are not written as pairs of hexadecimal digits, as in `"00ff"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bytes are written as pairs of hexadecimal digits, as in \"00ff\"")]
pub struct InvalidPayload;

#[cfg(feature = "serde")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Bytes { hex: String },
}

#[cfg(feature = "serde")]
impl TryFrom<Form> for Payload {
    type Error = InvalidPayload;

    fn try_from(form: Form) -> Result<Self, InvalidPayload> {
        match form {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Bytes { hex } => Self::from_hex(&hex),
        }
    }
}

#[cfg(feature = "serde")]
impl From<Payload> for Form {
    fn from(payload: Payload) -> Self {
        String::from_utf8(payload.0).map_or_else(
            |error| Self::Bytes { hex: error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect() },
            Self::Text,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_pairs_of_digits() {
        assert_eq!(Payload::from_hex("00 fF\n7").err(), Some(InvalidPayload));
        assert_eq!(Payload::from_hex("0g"), Err(InvalidPayload));
        assert_eq!(Payload::from_hex("00 fF\n70").unwrap().as_bytes(), [0, 255, 0x70]);
        assert_eq!(format!("{:?}", Payload::from(vec![0, b'a', b'"'])), r#""\x00a\"""#);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_file_holds_either_form() {
        for bytes in [b"PING\r\n".to_vec(), vec![0, 255]] {
            let payload = Payload::from(bytes);
            let text = serde_json::to_string(&payload).unwrap();
            assert_eq!(serde_json::from_str::<Payload>(&text).unwrap(), payload, "{text}");
        }
        assert!(serde_json::from_str::<Payload>(r#"{"hex":"0"}"#).is_err());
    }
}
