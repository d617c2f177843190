//! What all handlers share.

use std::sync::Arc;

use super::flight::Flight;
use super::metrics::Metrics;
use super::model::ServedModel;
use super::options::Options;
use super::problem::Problem;

/// What all handlers share.
#[derive(Clone)]
pub struct App {
    pub model: Arc<ServedModel>,
    pub options: Arc<Options>,
    pub metrics: Arc<Metrics>,
}

impl App {
    /// Runs what computes for a while on a thread that may.
    ///
    /// # Errors
    /// Those of `work`, and if it panics.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ServedModel) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let model = self.model.clone();
        let done = tokio::task::spawn_blocking(move || work(&model)).await;
        done.unwrap_or_else(|_| Err(Problem::internal("the request could not be prepared")))
    }

    /// Begins to count a request.
    pub fn flight(&self, path: &'static str) -> Flight {
        Flight::begin(self.metrics.clone(), self.options.log, path)
    }
}
