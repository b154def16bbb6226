//! Durations as a person writes them: `"250ms"`, `"1m 30s"`. For `#[serde(with = "evenkeel_types::human_duration")]`.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// Writes `duration` as text.
///
/// # Errors
///
/// Those of the serialiser.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Reads text such as `"250ms"`.
///
/// # Errors
///
/// If the text is not a number with a unit (`ns`, `us`, `ms`, `s`, `m`, `h`, `days` …).
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        de::Error::custom(format_args!("duration {text:?}: {error}; write for example \"250ms\""))
    })
}

/// The same for a duration that may be absent.
pub mod optional {
    use super::{Cow, Deserialize, Deserializer, Duration, Serializer, de};

    /// Writes `duration` as text, or nothing.
    ///
    /// # Errors
    ///
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads text such as `"250ms"`, if there is any.
    ///
    /// # Errors
    ///
    /// As [`super::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else { return Ok(None) };
        super::deserialize(de::value::CowStrDeserializer::new(text)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, serde::Serialize)]
    struct Sample {
        #[serde(with = "super")]
        wait: Duration,
        #[serde(with = "super::optional", default, skip_serializing_if = "Option::is_none")]
        limit: Option<Duration>,
    }

    #[test]
    fn reads_and_writes_units() {
        let sample: Sample = serde_json::from_str(r#"{"wait":"250ms","limit":"1m 30s"}"#).unwrap();
        assert_eq!(sample, Sample { wait: Duration::from_millis(250), limit: Some(Duration::from_secs(90)) });
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
        let error = serde_json::from_str::<Sample>(r#"{"wait":"soon"}"#).unwrap_err().to_string();
        assert!(error.contains("250ms"), "{error}");
    }
}
