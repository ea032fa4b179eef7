//! Which fields the rows of each list have for filters, sorts and copies.

use super::data::{Attention, AuditEntry, Backend, Event, Key, Request};
use super::filter::{Field, Row, Value, field};

#[expect(clippy::cast_precision_loss, reason = "a sort key, not an account")]
pub(super) fn number(value: impl TryInto<i64>) -> Value<'static> {
    Value::Number(value.try_into().unwrap_or(i64::MAX) as f64)
}

pub(super) fn text(value: &str) -> Value<'_> {
    Value::Text(value.into())
}

#[expect(clippy::cast_precision_loss, reason = "compared with what an operator typed")]
fn dollars(ncr: i64) -> Value<'static> {
    Value::Number(ncr as f64 / 1e9)
}

impl Row for Attention {
    const FIELDS: &'static [Field] = &[
        field("urgency", 'u', true),
        field("age", 'a', true),
        field("text", 'x', false),
        field("subject", 'o', false),
    ];

    fn id(&self) -> &str {
        &self.id
    }

    fn copied(&self) -> &str {
        &self.subject
    }

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "urgency" => Value::Word(self.severity.word()),
            "age" => number(-self.since_ms),
            "subject" => text(&self.subject),
            _ => text(&self.text),
        }
    }

    /// The most severe, and of those the oldest: seconds are far fewer than what lies between two
    /// severities.
    fn rank(&self, name: &str) -> Value<'_> {
        const STEP: i64 = 1_000_000_000_000;
        match name {
            "urgency" => number(self.severity as i64 * STEP - self.since_ms / 1_000),
            _ => self.field(name),
        }
    }
}

impl Row for Backend {
    const FIELDS: &'static [Field] = &[
        field("state", 's', false),
        field("name", 'n', false),
        field("model", 'm', false),
        field("engine", 'e', false),
        field("run", 'r', true),
        field("queue", 'q', true),
        field("ttft", 't', true),
        field("err", 'x', true),
        field("weight", 'w', true),
        field("breaker", 'b', true),
        field("provider", 'p', false),
    ];

    fn id(&self) -> &str {
        &self.id
    }

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "state" => Value::Word(self.state.word()),
            "model" => {
                let names: Vec<_> =
                    self.models.iter().map(|served| served.model.as_str()).collect();
                Value::Text(names.join(" ").into())
            }
            "engine" => text(&self.engine),
            "run" => number(self.running),
            "queue" => number(self.queued),
            "ttft" => number(self.ttft_p95_ms),
            "err" => Value::Number(f64::from(self.recent_failures_ppm) / 10_000.0),
            "weight" => number(self.weight),
            "breaker" => Value::Word(self.breaker.word()),
            "provider" => text(&self.provider),
            _ => text(&self.id),
        }
    }

    /// States and breakers sort by how bad they are.
    fn rank(&self, name: &str) -> Value<'_> {
        match name {
            "state" => number(self.state as u8),
            "breaker" => number(self.breaker as u8),
            _ => self.field(name),
        }
    }
}

impl Row for Key {
    const FIELDS: &'static [Field] = &[
        field("cost", 'c', true),
        field("name", 'n', false),
        field("prefix", 'p', false),
        field("customer", 'o', false),
        field("tier", 't', false),
        field("rate", 'r', true),
        field("tokens", 'k', true),
        field("requests", 'u', true),
        field("err", 'e', true),
        field("limited", 'l', true),
        field("left", 'b', false),
        field("state", 's', false),
        field("id", 'i', false),
    ];

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "cost" => dollars(self.today.charged_ncr),
            "prefix" => text(&self.prefix),
            "customer" => text(&self.customer),
            "tier" => text(&self.tier),
            "rate" => Value::Number(number_of(self.requests_per_ks) / 1e3),
            "tokens" => number(self.tokens_today()),
            "requests" => number(self.today.requests),
            "err" => Value::Number(f64::from(self.errors_ppm()) / 10_000.0),
            "limited" => number(self.today.limited),
            "left" => self.budget_ncr.map_or(Value::Number(f64::MAX), dollars),
            "state" => Value::Word(self.state().word()),
            "id" => text(&self.id),
            _ => text(&self.name),
        }
    }

    fn rank(&self, name: &str) -> Value<'_> {
        if name == "state" { number(self.state() as u8) } else { self.field(name) }
    }
}

fn number_of(value: u64) -> f64 {
    match number(value) {
        Value::Number(number) => number,
        Value::Text(_) | Value::Word(_) => 0.0,
    }
}

impl Row for Request {
    const FIELDS: &'static [Field] = &[
        field("time", 't', true),
        field("id", 'i', false),
        field("key", 'k', false),
        field("model", 'm', false),
        field("scope", 's', false),
        field("backend", 'b', false),
        field("state", 'a', false),
        field("out", 'o', true),
        field("cost", 'c', true),
    ];

    fn id(&self) -> &str {
        &self.id
    }

    fn at_ms(&self) -> Option<i64> {
        Some(self.created_at_ms)
    }

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "time" => number(self.created_at_ms),
            "key" => text(&self.key_name),
            "model" => text(self.model()),
            "scope" => text(&self.scope),
            "backend" => text(&self.backend),
            "state" => Value::Word(self.state.word()),
            "out" => number(self.tokens_out),
            "cost" => dollars(self.charged_ncr),
            _ => text(&self.id),
        }
    }
}

impl Row for Event {
    const FIELDS: &'static [Field] = &[
        field("time", 't', true),
        field("kind", 'k', false),
        field("severity", 's', false),
        field("subject", 'o', false),
        field("text", 'x', false),
    ];

    fn id(&self) -> &str {
        &self.id
    }

    fn at_ms(&self) -> Option<i64> {
        Some(self.at_ms)
    }

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "kind" => text(&self.kind),
            "severity" => Value::Word(self.severity.word()),
            "subject" => text(&self.subject),
            "text" => text(&self.text),
            _ => number(self.seq),
        }
    }
}

impl Row for AuditEntry {
    const FIELDS: &'static [Field] = &[
        field("time", 't', true),
        field("operator", 'o', false),
        field("action", 'a', false),
        field("object", 'b', false),
        field("reason", 'r', false),
        field("request", 'q', false),
    ];

    fn id(&self) -> &str {
        &self.id
    }

    fn at_ms(&self) -> Option<i64> {
        Some(self.at_ms)
    }

    fn details(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("role", self.role.as_str()),
            ("before", self.before.as_str()),
            ("after", self.after.as_str()),
            ("hash", self.hash.as_str()),
        ]
    }

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "operator" => text(&self.operator),
            "action" => text(&self.action),
            "object" => text(&self.object),
            "reason" => text(&self.reason),
            "request" => text(&self.request_id),
            _ => number(self.seq),
        }
    }
}

/// A row as one JSON object, for the clipboard and for files.
pub(crate) fn json<R: Row>(row: &R) -> String {
    let mut object = serde_json::Map::new();
    object.insert("id".to_owned(), row.id().into());
    if let Some(at) = row.at_ms().and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
        object.insert("at".to_owned(), at.to_string().into());
    }
    for (name, text) in row.details() {
        object.insert(name.to_owned(), text.into());
    }
    for field in R::FIELDS {
        let value = match row.field(field.name) {
            Value::Text(text) => text.into_owned().into(),
            Value::Word(word) => word.into(),
            Value::Number(number) => number.into(),
        };
        object.insert(field.name.to_owned(), value);
    }
    serde_json::Value::Object(object).to_string()
}
