//! The places of providers' connections: one for each provider, for as long as relayd runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ProviderId;
use crate::engines::UplinkSlot;

/// Providers and their places. An entry stays when its provider goes: the number of providers that
/// ever joined bounds it.
#[derive(Debug, Default)]
pub(super) struct Uplinks(Mutex<HashMap<ProviderId, Arc<UplinkSlot>>>);

impl Uplinks {
    /// The place of a provider's connection, empty when it was never here.
    pub(super) fn slot(&self, provider: &ProviderId) -> Arc<UplinkSlot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(provider.clone()).or_default())
    }
}
