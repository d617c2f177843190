//! What the server counts, for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use rbees_check::engine::Figures;
use std::sync::atomic::Ordering;

/// A path and the status of its answers.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Answered {
    pub path: String,
    pub status: u16,
}

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub answered: Family<Answered, Counter>,
    pub in_flight: Gauge,
    pub connections: Gauge,
    pub clients_gone: Counter,
    pub before_first_token: Histogram,
    pub between_tokens: Histogram,
    pub seconds: Histogram,
    engine: OfEngine,
}

/// The engine's own figures, copied when they are asked for.
#[derive(Debug, Default)]
struct OfEngine {
    running: Gauge,
    waiting: Gauge,
    cache_tokens: Gauge,
    kept: Gauge,
    generated: Counter,
    prompt_tokens: Counter,
    reused_tokens: Counter,
    steps: Counter,
    spot_checked: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        // From half a millisecond to about two minutes.
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 18));
        let metrics = Self {
            registry: Registry::default(),
            answered: Family::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            clients_gone: Counter::default(),
            before_first_token: seconds(),
            between_tokens: seconds(),
            seconds: seconds(),
            engine: OfEngine::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let mut registry = Registry::with_prefix("rbees");
        let engine = &self.engine;
        registry.register("answers", "Answers by path and status", self.answered.clone());
        registry.register("requests_in_flight", "Requests that are being answered", self.in_flight.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register(
            "clients_gone",
            "Requests whose client left before the end",
            self.clients_gone.clone(),
        );
        for (name, help, histogram) in [
            ("before_first_token", "Time from a request to its first token", &self.before_first_token),
            ("between_tokens", "Time between two tokens of a request", &self.between_tokens),
            ("request", "Time from a request to the end of its answer", &self.seconds),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        for (name, help, gauge) in [
            ("sequences_running", "Sequences that run", &engine.running),
            ("sequences_waiting", "Sequences that wait for a place", &engine.waiting),
            ("cache_tokens", "Tokens reserved in caches", &engine.cache_tokens),
            ("caches_kept", "Caches kept for the next turn of a conversation", &engine.kept),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            ("tokens_generated", "Tokens generated", &engine.generated),
            ("prompt_tokens", "Tokens of prompts that went through the model", &engine.prompt_tokens),
            ("prompt_tokens_reused", "Tokens of prompts that were in a kept cache", &engine.reused_tokens),
            ("steps", "Forward passes", &engine.steps),
            ("spot_checks", "Served requests that were checked again", &engine.spot_checked),
        ] {
            registry.register(name, help, counter.clone());
        }
        self.registry = registry;
        self
    }

    /// Everything in the OpenMetrics text format.
    pub fn text(&self, figures: &Figures) -> String {
        let engine = &self.engine;
        engine.running.set(figures.running as i64);
        engine.waiting.set(figures.waiting as i64);
        engine.cache_tokens.set(figures.cache_tokens as i64);
        engine.kept.set(figures.kept as i64);
        for (counter, value) in [
            (&engine.generated, figures.generated),
            (&engine.prompt_tokens, figures.prompt_tokens),
            (&engine.reused_tokens, figures.reused_tokens),
            (&engine.steps, figures.steps),
            (&engine.spot_checked, figures.spot_checked),
        ] {
            counter.inner().store(value, Ordering::Relaxed);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
