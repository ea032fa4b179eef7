//! What browsers of other origins may do. Off unless origins are configured.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// What a browser may send.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Headers that a browser may send: those of the three SDK families and of trace context.
const REQUEST_HEADERS: &str = "authorization, content-type, x-api-key, idempotency-key, \
    anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, traceparent, \
    tracestate, x-stainless-arch, x-stainless-helper-method, x-stainless-lang, x-stainless-os, \
    x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, \
    x-stainless-runtime-version, x-stainless-timeout";

/// Headers that a page may read.
const EXPOSED: &str = "x-request-id, retry-after, idempotency-replayed, x-credit-warning";

/// How long a browser may remember a preflight's answer, in seconds: the most that browsers keep.
const MAX_AGE_S: &str = "7200";

/// The origins that may call.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
    /// What their pages may send; the SDKs' own fields where none is set.
    headers: Option<HeaderValue>,
}

/// What no browser would send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    /// No origin.
    #[error("'{0}' is not an origin such as https://app.example.com")]
    Origin(String),
    /// No name of a header field.
    #[error("'{0}' is not the name of a header field")]
    Header(String),
}

impl Cors {
    /// Lets these origins call; `*` is any. Credentials are never asked of the browser: a page
    /// must hold a key itself. `headers` may be sent besides those of the SDKs.
    ///
    /// # Errors
    /// [`CorsError`] for a text that is no origin or no header field.
    pub fn new(origins: &[String], headers: &[String]) -> Result<Self, CorsError> {
        let shown = |text: &str| text.chars().filter(|c| !c.is_control()).collect();
        let mut cors = Self::default();
        for origin in origins {
            if origin == "*" {
                cors.any = true;
                continue;
            }
            let error = || CorsError::Origin(shown(origin));
            let url = url::Url::parse(origin).map_err(|_| error())?;
            if url.origin().ascii_serialization() != *origin {
                return Err(error());
            }
            cors.origins.push(HeaderValue::from_str(origin).map_err(|_| error())?);
        }
        let mut allowed = REQUEST_HEADERS.to_owned();
        for header in headers {
            let error = |_| CorsError::Header(shown(header));
            let name = HeaderName::from_bytes(header.as_bytes()).map_err(error)?;
            allowed.push_str(", ");
            allowed.push_str(name.as_str());
        }
        cors.headers = HeaderValue::from_str(&allowed).ok();
        Ok(cors)
    }

    /// Whether any origin may call.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.any || !self.origins.is_empty()
    }

    /// Whether a request is a browser's question before the real one.
    #[must_use]
    pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        *method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Adds what the browser needs to see, when the request's origin may call.
    pub fn answer(&self, origin: Option<&HeaderValue>, preflight: bool, out: &mut HeaderMap) {
        if !self.is_on() {
            return;
        }
        out.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = origin else { return };
        let allowed = match (self.any, self.origins.contains(origin)) {
            (true, _) => HeaderValue::from_static("*"),
            (false, true) => origin.clone(),
            (false, false) => return,
        };
        let mut set = |name: HeaderName, value: HeaderValue| out.insert(name, value);
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if preflight {
            let fixed = HeaderValue::from_static;
            set(header::ACCESS_CONTROL_ALLOW_METHODS, fixed(METHODS));
            let headers = self.headers.clone().unwrap_or_else(|| fixed(REQUEST_HEADERS));
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
            set(header::ACCESS_CONTROL_MAX_AGE, fixed(MAX_AGE_S));
        } else {
            set(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], origin: &str, preflight: bool) -> Option<String> {
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let mut out = HeaderMap::new();
        let origin = origin.parse().unwrap();
        Cors::new(&origins, &[]).unwrap().answer(Some(&origin), preflight, &mut out);
        let value = out.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        assert_eq!(out.contains_key(header::ACCESS_CONTROL_ALLOW_METHODS), preflight);
        assert!(!out.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_configured_origins_may_call() {
        let app = "https://app.example.com";
        assert_eq!(allowed(&[], app, true), None);
        assert_eq!(allowed(&[app], app, true).as_deref(), Some(app));
        assert_eq!(allowed(&[app], app, false).as_deref(), Some(app));
        assert_eq!(allowed(&[app], "https://app.example.com.evil.test", true), None);
        assert_eq!(allowed(&[app], "null", true), None);
        assert_eq!(allowed(&["*"], "https://other.test", true).as_deref(), Some("*"));
    }

    #[test]
    fn a_page_may_send_what_the_sdks_send_and_what_is_configured() {
        let (any, ours) = (["*".to_owned()], ["X-Tenant".to_owned()]);
        let mut out = HeaderMap::new();
        let origin = "https://app.test".parse().unwrap();
        Cors::new(&any, &ours).unwrap().answer(Some(&origin), true, &mut out);
        let allowed = out[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        assert!(allowed.starts_with(REQUEST_HEADERS) && allowed.ends_with(", x-tenant"));
        assert!(Cors::new(&any, &["x tenant".to_owned()]).is_err());
    }

    #[test]
    fn an_origin_is_checked() {
        for bad in ["", "app.example.com", "https://app.example.com/", "https://a/b", "file:///"] {
            assert!(Cors::new(&[bad.to_owned()], &[]).is_err(), "{bad}");
        }
    }
}
