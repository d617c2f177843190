//! What is counted and logged about one request while it is answered.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;

use super::metrics::Metrics;

/// A request that is being answered. When it is dropped before [`Flight::ended`], its client has left.
#[derive(Debug)]
pub struct Flight {
    metrics: Arc<Metrics>,
    /// Where to log, if requests are logged.
    log: Option<fn(&str)>,
    path: &'static str,
    begin: Instant,
    last: Instant,
    pub prompt_tokens: usize,
    pub tokens: usize,
    how: Option<&'static str>,
}

impl Flight {
    pub fn begin(metrics: Arc<Metrics>, log: Option<fn(&str)>, path: &'static str) -> Self {
        metrics.in_flight.inc();
        let now = Instant::now();
        Self { metrics, log, path, begin: now, last: now, prompt_tokens: 0, tokens: 0, how: None }
    }

    /// Counts a token.
    pub fn token(&mut self) {
        let now = Instant::now();
        let histogram =
            if self.tokens == 0 { &self.metrics.before_first_token } else { &self.metrics.between_tokens };
        histogram.observe((now - self.last).as_secs_f64());
        self.last = now;
        self.tokens += 1;
    }

    /// The answer is complete: `how` it ended. Only the first call counts.
    pub fn ended(&mut self, how: &'static str) {
        self.how.get_or_insert(how);
    }

    /// The engine refused it.
    pub fn refused(&mut self, status: StatusCode) {
        self.ended(if status == StatusCode::TOO_MANY_REQUESTS { "queue full" } else { "refused" });
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        let seconds = self.begin.elapsed().as_secs_f64();
        self.metrics.seconds.observe(seconds);
        if self.how.is_none() {
            self.metrics.clients_gone.inc();
        }
        if let Some(say) = self.log {
            let Self { path, prompt_tokens, tokens, .. } = self;
            let how = self.how.unwrap_or("the client left");
            say(&format!("{path}: {how}, {prompt_tokens} prompt tokens, {tokens} tokens, {seconds:.3} s"));
        }
    }
}
