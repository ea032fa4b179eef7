//! W3C trace context, read from the client and passed on to the engine; and what exported spans say.
//!
//! What is said here goes to the exporter alone, never into a log line. It costs next to nothing
//! where no traces are exported. No attribute may hold a body, a header, a query or a secret.

use std::borrow::Cow;

use opentelemetry::Value;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Longest `tracestate` passed on, in bytes (the recommendation asks for at least 512).
const TRACESTATE_MAX_BYTES: usize = 512;

/// The trace that a request belongs to. Empty when the client named none or a malformed one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    parent: Option<Parent>,
    tracestate: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// Reads the two headers. A malformed `traceparent` drops both, as the recommendation says.
    #[must_use]
    pub fn parse(traceparent: Option<&str>, tracestate: Option<&str>) -> Self {
        let parent = traceparent.and_then(Parent::parse);
        let is_plain = |state: &&str| {
            state.len() <= TRACESTATE_MAX_BYTES && state.bytes().all(|b| (0x20..0x7f).contains(&b))
        };
        let tracestate = match parent {
            Some(_) => tracestate.filter(is_plain).map(str::to_owned),
            None => None,
        };
        Self { parent, tracestate }
    }

    /// Makes a span the child of this trace.
    pub fn adopt(&self, span: &Span) {
        let Some(parent) = self.parent else { return };
        let remote = SpanContext::new(
            TraceId::from(parent.trace),
            SpanId::from(parent.span),
            TraceFlags::new(parent.flags),
            true,
            TraceState::default(),
        );
        // Fails only where no traces are exported; then there is nothing to adopt.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
    }

    /// The `traceparent` for the engine: our span where traces are exported, else the client's.
    #[must_use]
    pub fn traceparent(&self, span: &Span) -> Option<String> {
        let context = span.context();
        let ours = context.span().span_context().clone();
        if ours.is_valid() {
            let flags = ours.trace_flags().to_u8();
            return Some(format!("00-{}-{}-{flags:02x}", ours.trace_id(), ours.span_id()));
        }
        let parent = self.parent?;
        Some(format!("00-{:032x}-{:016x}-{:02x}", parent.trace, parent.span, parent.flags))
    }

    /// The `tracestate` for the engine.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }
}

/// Gives an exported span the name that people see, such as a method and a route.
pub fn rename(span: &Span, name: impl Into<Cow<'static, str>>) {
    span.context().span().update_name(name);
}

/// Notes an attribute on an exported span.
pub fn note(span: &Span, key: &'static str, value: impl Into<Value>) {
    span.set_attribute(key, value);
}

/// Marks an exported span as failed, with a code from our own list.
pub fn failed(span: &Span, code: &'static str) {
    span.set_attribute("error.type", code);
    span.set_status(Status::error(code));
}

impl Parent {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |part: &str, digits: usize| {
            part.len() == digits
                && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let well_formed = lower_hex(version, 2)
            && version != "ff"
            && lower_hex(trace, 32)
            && lower_hex(span, 16)
            && lower_hex(flags, 2)
            && (version != "00" || parts.next().is_none());
        if !well_formed {
            return None;
        }
        let parent = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (parent.trace != 0 && parent.span != 0).then_some(parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_good_context_passes_on_unchanged_without_an_exporter() {
        let context = TraceContext::parse(Some(GOOD), Some("vendor=1"));
        assert_eq!(context.traceparent(&Span::none()).as_deref(), Some(GOOD));
        assert_eq!(context.tracestate(), Some("vendor=1"));
    }

    #[test]
    fn a_malformed_context_is_dropped_whole() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            let context = TraceContext::parse(Some(bad), Some("vendor=1"));
            assert_eq!(context, TraceContext::default(), "{bad:?}");
        }
        let control = TraceContext::parse(Some(GOOD), Some("a=\u{7}"));
        assert_eq!(control.tracestate(), None);
    }
}
