//! Which media types a body may have where it is read here.

use super::problem::Problem;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};

/// The media types of one JSON object.
pub(super) const JSON: &[&str] = &["application/json"];

/// The media types of JSON lines. Nobody has registered one.
pub(super) const LINES: &[&str] = &[
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
];

/// Refuses a body that does not say that it is of one of these types, or is compressed. What a
/// browser sends to other sites unasked is never of them.
pub(super) fn require(headers: &HeaderMap, types: &'static [&'static str]) -> Result<(), Problem> {
    let said = essence(headers, &header::CONTENT_TYPE);
    if !types.contains(&said.as_str()) {
        return Err(refuse("Content-Type", &said, types.first()));
    }
    match essence(headers, &header::CONTENT_ENCODING).as_str() {
        "" | "identity" => Ok(()),
        coding => Err(refuse("Content-Encoding", coding, Some(&"identity"))),
    }
}

/// What a header says, in lower case and without parameters.
fn essence(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let bare = value.unwrap_or_default().split(';').next();
    bare.unwrap_or_default().trim().to_ascii_lowercase()
}

fn refuse(header: &str, said: &str, instead: Option<&&str>) -> Problem {
    let shown: String = said.chars().take(64).collect();
    let title = if shown.is_empty() {
        format!("the body has no `{header}`")
    } else {
        format!("`{header}: {shown}` is not taken here")
    };
    Problem::argument(StatusCode::UNSUPPORTED_MEDIA_TYPE, title).detailed(format!(
        "send `{header}: {}`",
        instead.copied().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_counts_whatever_its_case_and_parameters() {
        let said = |name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
            headers.insert(name, value.parse().unwrap());
            require(&headers, JSON).map_err(|problem| problem.title)
        };
        for json in ["application/json", "Application/JSON ; charset=utf-8"] {
            assert_eq!(said(header::CONTENT_TYPE, json), Ok(()));
        }
        for other in ["text/json", "application/jsonx", "", "application"] {
            assert!(said(header::CONTENT_TYPE, other).is_err(), "{other}");
        }
        assert_eq!(said(header::CONTENT_ENCODING, "identity"), Ok(()));
        let refused = "`Content-Encoding: gzip` is not taken here".to_owned();
        assert_eq!(said(header::CONTENT_ENCODING, "gzip"), Err(refused));
    }
}
