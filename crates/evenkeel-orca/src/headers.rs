use http::HeaderMap;

use crate::{HEADER, HEADER_BIN, OrcaError, OrcaReport};

/// The report in a head or in trailers, if there is one. One look-up for each name, if there is none.
///
/// # Errors
///
/// [`OrcaError`]: also if there are several, of which none is believed.
pub fn report_in(headers: &HeaderMap) -> Option<Result<OrcaReport, OrcaError>> {
    let mut all = [HEADER_BIN, HEADER]
        .into_iter()
        .flat_map(|name| headers.get_all(name).into_iter().map(move |value| (name, value)));
    let (name, value) = all.next()?;
    if all.next().is_some() {
        return Some(Err(OrcaError::Several));
    }
    Some(OrcaReport::parse(name, value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_report_is_believed_and_two_are_not() {
        let mut headers = HeaderMap::new();
        assert_eq!(report_in(&headers), None);
        headers.insert(HEADER, HeaderValue::from_static("TEXT eps=1"));
        assert_eq!(report_in(&headers).unwrap().unwrap().eps, 1.0);
        headers.append(HEADER, HeaderValue::from_static("TEXT eps=2"));
        assert_eq!(report_in(&headers), Some(Err(OrcaError::Several)));
        headers.insert(HEADER, HeaderValue::from_static("TEXT eps=1"));
        headers.insert(HEADER_BIN, HeaderValue::from_static("AAAA"));
        assert_eq!(report_in(&headers), Some(Err(OrcaError::Several)));
    }
}
