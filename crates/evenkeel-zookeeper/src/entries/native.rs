use evenkeel_types::{Endpoint, Labels};

use super::{EntryError, Format, Reading, malformed, node_name};

pub(super) fn read(name: &str, data: &[u8]) -> Result<Reading, EntryError> {
    let endpoint: Endpoint =
        serde_json::from_slice(data).map_err(|error| malformed(Format::Native, &error))?;
    if let Some(key) = endpoint.labels().and_then(Labels::reserved) {
        return Err(EntryError::Bad {
            field: "labels".to_owned(),
            given: key.to_owned(),
            wanted: "keys under `evenkeel.` are reserved",
        });
    }
    let belongs = node_name(endpoint.id().as_str());
    if belongs != name {
        return Err(EntryError::OtherName { id: endpoint.id().as_str().to_owned(), belongs });
    }
    Ok(Reading::Endpoint { endpoint: Box::new(endpoint), left_out: None })
}

pub(super) fn write(endpoint: &Endpoint) -> Vec<u8> {
    serde_json::to_vec(endpoint).expect("names, numbers and lists have a form in JSON")
}
