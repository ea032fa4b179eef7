//! Deployments: what a provider's agent runs on demand, from a template of its own.

/// Most instances of one deployment, and of all deployments of one template: four on each card of a
/// host with eight. What an operator asks for and what an owner allows are held to the same bound.
pub const INSTANCES_MAX: u16 = 32;
