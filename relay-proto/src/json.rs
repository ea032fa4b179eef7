//! Enum values as plain lower-case words: `KEY_STATUS_ACTIVE` prints `active`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::admin::v1 as admin;

/// An enum of the protocol whose values have a word.
pub trait Word: TryFrom<i32> {
    /// The lower-case word of this value, without the enum's own name.
    fn word(&self) -> String;
    /// The value that has this word.
    fn from_word(word: &str) -> Option<Self>;
}

macro_rules! words {
    ($($name:path => $prefix:literal),* $(,)?) => {$(
        impl Word for $name {
            fn word(&self) -> String {
                self.as_str_name().trim_start_matches($prefix).to_lowercase()
            }

            fn from_word(word: &str) -> Option<Self> {
                Self::from_str_name(&format!("{}{}", $prefix, word.to_uppercase()))
            }
        }
    )*};
}

words! {
    admin::Role => "ROLE_",
    admin::CustomerStatus => "CUSTOMER_STATUS_",
    admin::KeyStatus => "KEY_STATUS_",
    admin::BackendState => "BACKEND_STATE_",
    admin::BreakerState => "BREAKER_STATE_",
    admin::RequestState => "REQUEST_STATE_",
    admin::HostState => "HOST_STATE_",
    admin::GpusState => "GPUS_STATE_",
    admin::CardState => "CARD_STATE_",
    admin::Severity => "SEVERITY_",
    admin::difference::Kind => "KIND_",
    admin::ProviderState => "PROVIDER_STATE_",
    admin::DeploymentState => "DEPLOYMENT_STATE_",
    admin::RolloutState => "ROLLOUT_STATE_",
    admin::GateKind => "GATE_KIND_",
    admin::GateVerdict => "GATE_VERDICT_",
    crate::fleet::v1::RefusalCode => "REFUSAL_CODE_",
}

/// Serialises one value; a number that this version does not know stays a number.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(crate) fn word<E: Word, S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    match E::try_from(*value) {
        Ok(known) => serializer.serialize_str(&known.word()),
        Err(_) => serializer.serialize_i32(*value),
    }
}

/// Serialises a value that may be absent.
pub(crate) fn optional_word<E: Word, S: Serializer>(
    value: &Option<i32>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => word::<E, S>(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// A value as it was serialised.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    Number(i32),
}

/// Reads what [`word`] wrote.
pub(crate) fn read_word<'de, E, D>(deserializer: D) -> Result<i32, D::Error>
where
    E: Word + Into<i32>,
    D: Deserializer<'de>,
{
    match Written::deserialize(deserializer)? {
        Written::Number(number) => Ok(number),
        Written::Word(word) => match E::from_word(&word) {
            Some(value) => Ok(value.into()),
            None => Err(D::Error::custom(format_args!("unknown word '{word}'"))),
        },
    }
}

/// Reads what [`optional_word`] wrote.
pub(crate) fn read_optional_word<'de, E, D>(deserializer: D) -> Result<Option<i32>, D::Error>
where
    E: Word + Into<i32>,
    D: Deserializer<'de>,
{
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Number(number)) => Ok(Some(number)),
        Some(Written::Word(word)) => match E::from_word(&word) {
            Some(value) => Ok(Some(value.into())),
            None => Err(D::Error::custom(format_args!("unknown word '{word}'"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_protocols_field_names_and_plain_words() {
        let backend = admin::Backend {
            backend_id: "a".into(),
            state: admin::BackendState::Up.into(),
            breaker: admin::BreakerState::HalfOpen.into(),
            ..Default::default()
        };
        let json = serde_json::to_value(&backend).unwrap();
        assert_eq!(json["state"], "up");
        assert_eq!(json["breaker"], "half_open");
        assert_eq!(json["backend_id"], "a");
        assert_eq!(json["provider_id"], "");
    }

    #[test]
    fn words_read_back() {
        assert_eq!(admin::Role::from_word("admin"), Some(admin::Role::Admin));
        assert_eq!(admin::Role::from_word("root"), None);
        assert_eq!(admin::KeyStatus::Revoked.word(), "revoked");
    }

    #[test]
    fn json_reads_back_and_what_is_absent_is_empty() {
        let request = admin::UpdateCustomerRequest {
            customer_id: "c".into(),
            status: Some(admin::CustomerStatus::Suspended.into()),
            ..Default::default()
        };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<admin::UpdateCustomerRequest>(&json).unwrap(), request);
        let backend: admin::Backend = serde_json::from_str(r#"{"state":"up"}"#).unwrap();
        assert_eq!(backend.state(), admin::BackendState::Up);
        assert!(serde_json::from_str::<admin::Backend>(r#"{"state":"sideways"}"#).is_err());
    }
}
