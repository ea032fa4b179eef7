//! Panels. Each draws itself into the area that the layout gave it.

mod backends;
mod events;
mod gpus;
mod keys;
mod models;
mod overview;
mod providers;
mod reputation;
mod requests;
mod rollouts;

pub(super) use self::backends::facts_of as backend_facts;
pub(super) use self::events::{audit_lines, wrapped};
pub(super) use self::gpus::{facts_of as gpu_facts, process_lines};
pub(super) use self::keys::facts_of as key_facts;
pub(super) use self::models::model_lines;
pub(super) use self::providers::{evidence_lines, facts_of as provider_facts};
pub(super) use self::reputation::reputation_lines;
use super::pen::Pen;
use crate::model::Model;
use crate::model::layout::{Panel, Slot};

pub(super) fn panel(pen: &mut Pen<'_>, model: &Model, slot: Slot, focused: bool) {
    let area = slot.area;
    match slot.panel {
        Panel::Traffic => overview::traffic(pen, model, area),
        Panel::Attention => overview::attention(pen, model, area, focused),
        Panel::Money => overview::money(pen, model, area),
        Panel::Fleet => overview::fleet(pen, model, slot, focused),
        Panel::Running => requests::running(pen, model, area, focused),
        Panel::Happenings => events::happenings(pen, model, area, focused),
        Panel::GpuList => gpus::list(pen, model, area),
        Panel::GpuHistory => gpus::history(pen, model, area),
        Panel::GpuDetail => gpus::detail(pen, model, area),
        Panel::GpuProcesses => gpus::processes(pen, model, area),
        Panel::GpuHost => gpus::host(pen, model, area),
        Panel::ProviderList => providers::list(pen, model, area),
        Panel::ProviderDetail => providers::detail(pen, model, area),
        Panel::ProviderEvidence => providers::evidence(pen, model, area),
        Panel::ProviderScores => reputation::panel(pen, model, area),
        Panel::ProviderEvents => providers::happenings(pen, model, area),
        Panel::BackendList => backends::list(pen, model, area),
        Panel::BackendHistory => backends::history(pen, model, area),
        Panel::BackendDetail => backends::detail(pen, model, area),
        Panel::BackendRequests => requests::on_backend(pen, model, area),
        Panel::ModelList => models::list(pen, model, area),
        Panel::ModelRollout => rollouts::detail(pen, model, area),
        Panel::ModelHistory => models::history(pen, model, area),
        Panel::ModelRevisions => models::revisions(pen, model, area),
        Panel::ModelNotes => rollouts::notes(pen, model, area),
        Panel::KeyList => keys::list(pen, model, area),
        Panel::KeyHistory => keys::history(pen, model, area),
        Panel::KeyDetail => keys::detail(pen, model, area),
        Panel::KeyRequests => requests::of_key(pen, model, area),
        Panel::EventList => events::list(pen, model, area),
        Panel::EventDetail => events::detail(pen, model, area),
        Panel::AuditList => events::audit(pen, model, area),
        Panel::AuditDetail => events::audit_detail(pen, model, area),
    }
}
