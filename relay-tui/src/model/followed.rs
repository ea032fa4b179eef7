//! Rows whose details stand beside a list. They follow the selection with the next second: running
//! down a list does not draw the details of every row on the way.

use super::Model;
use super::data::Rows;
use super::gpus::{self, Gpu, Serving};
use super::providers::Provider;
use super::rollouts::ModelRow;

impl Model {
    /// Once a second.
    pub(super) fn follow_selections(&mut self) {
        self.charted = self.gpus.selected_id().map(str::to_owned);
        self.examined = self.providers.selected_id().map(str::to_owned);
        self.compared = self.models.selected_id().map(str::to_owned);
    }

    /// The row whose charts are shown.
    pub(crate) fn charted_gpu(&self) -> Option<&Gpu> {
        self.charted.as_deref().and_then(|id| self.gpus.get(id)).or_else(|| self.gpus.selected())
    }

    /// The provider whose evidence is shown; its name stands above it.
    pub(crate) fn examined_provider(&self) -> Option<&Provider> {
        let examined = self.examined.as_deref().and_then(|id| self.providers.get(id));
        examined.or_else(|| self.providers.selected())
    }

    /// The model whose revisions are shown; its name stands above them.
    pub(crate) fn compared_model(&self) -> Option<&ModelRow> {
        let compared = self.compared.as_deref().and_then(|id| self.models.get(id));
        compared.or_else(|| self.models.selected())
    }

    /// Puts the cards together anew.
    pub(crate) fn arrange_gpus(&mut self) {
        self.gpus.apply(Rows::Snapshot(gpus::rows(&self.hosts, &self.serving(), self.grouping)));
        if self.charted.is_none() {
            self.charted = self.gpus.selected_id().map(str::to_owned);
        }
    }

    /// The models that each provider's backends serve.
    fn serving(&self) -> Serving {
        let mut serving = Serving::new();
        for backend in self.backends.all() {
            let models = backend.models.iter().map(|served| served.model.clone());
            serving.entry(backend.provider.clone()).or_default().extend(models);
        }
        serving
    }

    /// Takes what was told of providers.
    pub(crate) fn arrange_providers(&mut self, rows: Rows<Provider>) {
        self.providers.apply(rows);
        if self.examined.is_none() {
            self.examined = self.providers.selected_id().map(str::to_owned);
        }
    }

    /// Takes what was told of models.
    pub(crate) fn arrange_models(&mut self, rows: Rows<ModelRow>) {
        self.models.apply(rows);
        if self.compared.is_none() {
            self.compared = self.models.selected_id().map(str::to_owned);
        }
    }
}
