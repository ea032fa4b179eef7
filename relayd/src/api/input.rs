//! Reads queries and small JSON bodies strictly: an unknown or misplaced value is a 422 that names
//! it and never repeats it.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::{Code, Fault, FieldError, Loc, Scope};

use super::body::BodyBounds;
use super::error::Refused;

/// The one parameter of a path, unescaped.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let no_text = |_| Fault::new(Code::Unservable, "The path holds escapes that are no UTF-8");
        Ok(Self(Path::<String>::from_request_parts(parts, state).await.map_err(no_text)?.0))
    }
}

/// Reads a body as one JSON object.
pub(super) async fn json<T: DeserializeOwned>(
    bounds: &BodyBounds,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Fault> {
    let bytes = bounds.read(headers, body).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Fault::validation(vec![explain(&error.to_string(), "body")]))
}

/// Reads a query.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Fault> {
    axum::extract::Query::<T>::try_from_uri(uri).map(|query| query.0).map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string);
        Fault::validation(vec![explain(&cause, "query")])
    })
}

/// A parameter that is absent or null, told apart: `Some(None)` is null.
pub(super) fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Names of the form `mode.source.model`, as the member `field` of a body lists them.
pub(super) fn scopes(field: &'static str, names: &[String]) -> Result<Vec<Scope>, Fault> {
    let wrong = |index| {
        let loc = vec![Loc::Key("body".into()), Loc::Key(field.into()), Loc::Index(index)];
        let msg = "Expected a name of the form mode.source.model".to_owned();
        Fault::validation(vec![FieldError { kind: "value_error", loc, msg }])
    };
    names.iter().enumerate().map(|(n, name)| name.parse().map_err(|_| wrong(n))).collect()
}

/// A cursor that names nothing.
pub(super) fn unknown_cursor() -> Fault {
    Fault::new(Code::Unservable, "starting_after names no key of this account")
}

/// What a parser says, without the value that it says it about.
fn explain(cause: &str, place: &'static str) -> FieldError {
    let field = |kind, text: &str, msg: &str| {
        let name = text.split('`').nth(1).unwrap_or_default();
        let name: String = name.chars().take(80).filter(|c| !c.is_control()).collect();
        let loc = vec![Loc::Key(place.into()), Loc::Key(Cow::Owned(name))];
        FieldError { kind, loc, msg: msg.to_owned() }
    };
    if cause.contains("missing field `") {
        return field("missing", cause, "Field required");
    }
    if cause.contains("unknown field `") {
        return field("extra_forbidden", cause, "Extra inputs are not permitted");
    }
    if cause.contains("duplicate field `") {
        return field("duplicate", cause, "Given more than once");
    }
    let loc = vec![Loc::Key(place.into())];
    let expected = cause.split_once("expected ").map(|(_, rest)| rest);
    let expected = expected.map(|rest| rest.split(" at line ").next().unwrap_or(rest));
    let known = ["at most 9 decimals can be held exactly", "the amount is out of range"];
    let msg = match (known.iter().find(|known| cause.contains(**known)), expected) {
        (Some(known), _) => (*known).to_owned(),
        (None, Some(expected)) => format!("Expected {expected}"),
        (None, None) => "Not of the expected form".to_owned(),
    };
    FieldError { kind: "value_error", loc, msg }
}

#[cfg(test)]
mod tests {
    use crate::api::money::Usd;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Body {
        name: String,
        #[serde(deserialize_with = "nullable")]
        budget: Option<Option<Usd>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Needed {
        #[expect(dead_code, reason = "only its presence is read")]
        limit: u32,
    }

    fn told(json: &str) -> String {
        let error = serde_json::from_str::<Body>(json).unwrap_err();
        explain(&error.to_string(), "body").to_string()
    }

    #[test]
    fn mistakes_are_told_without_the_value() {
        assert_eq!(told(r#"{"nme": 1}"#), "nme: Extra inputs are not permitted");
        assert_eq!(told(r#"{"name": "a", "name": "b"}"#), "name: Given more than once");
        assert!(!told(r#"{"name": 4711}"#).contains("4711"));
        assert!(told(r#"{"budget": 0.12345678901}"#).contains("at most 9 decimals"));
        let uri: Uri = "/?limit=secret".parse().unwrap();
        let fault = query::<Needed>(&uri).unwrap_err();
        assert_eq!(fault.code, Code::ValidationError);
        assert!(!fault.message.contains("secret"), "{}", fault.message);
        let missing = query::<Needed>(&"/".parse().unwrap()).unwrap_err();
        assert_eq!(missing.message, "limit: Field required");
    }

    #[test]
    fn null_and_absent_are_told_apart() {
        let read = |json| serde_json::from_str::<Body>(json).unwrap().budget;
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"budget": null}"#), Some(None));
        assert!(matches!(read(r#"{"budget": 1.5}"#), Some(Some(_))));
    }
}
