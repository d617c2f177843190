//! Which operation takes how much of a pass.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use serde::Serialize;

use crate::Result;
use crate::probe::{Kind, Probe, Site};

/// The time of one kind of operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The site that it computes, by its name inside a layer.
    pub site: &'static str,
    /// Seconds over all layers.
    pub seconds: f64,
    /// Its share of the pass.
    pub share: f64,
}

/// Measures the time from each site to the next.
pub(super) struct Stopwatch {
    /// When the last site was handed over.
    pub(super) last: Instant,
    by_kind: BTreeMap<&'static str, Duration>,
}

impl Stopwatch {
    /// Without any time.
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), by_kind: BTreeMap::new() }
    }

    /// The parts, largest first.
    pub(super) fn parts(self) -> Vec<Part> {
        let total: f64 = self.by_kind.values().map(Duration::as_secs_f64).sum();
        let part = |(site, time): (&'static str, Duration)| Part {
            site,
            seconds: time.as_secs_f64(),
            share: time.as_secs_f64() / total,
        };
        let mut parts: Vec<Part> = self.by_kind.into_iter().map(part).collect();
        parts.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        parts
    }
}

impl Probe for Stopwatch {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        // A device computes later than it is called.
        tensor.device().synchronize()?;
        let now = Instant::now();
        // A layer's output has the layer's own path.
        let name = if site.kind == Kind::Block { "model.layers.N" } else { site.kind.name() };
        *self.by_kind.entry(name).or_default() += now - self.last;
        self.last = now;
        Ok(tensor)
    }
}
