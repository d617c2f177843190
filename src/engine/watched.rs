//! Shows the sites of one sequence of a step to a probe, as if the sequence had run alone.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;

use super::plan::Plan;
use crate::Result;
use crate::probe::{Kind, Probe, Site};

/// Hands the rows of one sequence to another probe, and puts what that returns in their place.
pub struct Watched<'a> {
    probe: &'a mut dyn Probe,
    /// Its rows in the step; none if it does not take part.
    rows: Range<usize>,
    /// Its place among the sequences of the step.
    part: usize,
    /// Its row among the rows that logits are computed for.
    sampled: Option<usize>,
    /// How many sequences have handed over each site that each sequence has for itself.
    seen: BTreeMap<Site, usize>,
}

impl<'a> Watched<'a> {
    /// Watches `sequence` in this step.
    pub fn new(plan: &Plan, sequence: usize, probe: &'a mut dyn Probe) -> Self {
        let part = plan.parts.iter().position(|part| part.sequence == sequence).unwrap_or(plan.parts.len());
        let start = plan.parts[..part].iter().map(|part| part.input.len()).sum();
        let own = plan.parts.get(part);
        let before = plan.parts[..part].iter().filter(|part| part.sampled.is_some()).count();
        Self {
            probe,
            rows: start..start + own.map_or(0, |own| own.input.len()),
            part,
            sampled: own.and_then(|own| own.sampled).map(|_| before),
            seen: BTreeMap::new(),
        }
    }

    /// Shows these rows of `tensor`, counted along its axis `axis`.
    fn show(&mut self, site: Site, tensor: Tensor, axis: usize, rows: Range<usize>) -> Result<Tensor> {
        if rows.is_empty() {
            return Ok(tensor);
        }
        let all = tensor.dim(axis)?;
        let own = tensor.narrow(axis, rows.start, rows.len())?.contiguous()?;
        let own = self.probe.tap(site, own)?;
        let before = tensor.narrow(axis, 0, rows.start)?;
        let after = tensor.narrow(axis, rows.end, all - rows.end)?;
        let parts: Vec<&Tensor> =
            [&before, &own, &after].into_iter().filter(|part| part.elem_count() > 0).collect();
        Ok(Tensor::cat(&parts, axis)?.contiguous()?)
    }
}

impl Probe for Watched<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.probe.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        match site.kind {
            // Each sequence has its own keys, so these sites are handed over sequence by sequence.
            Kind::Scores | Kind::Probs => {
                let seen = self.seen.entry(site).or_default();
                *seen += 1;
                if *seen == self.part + 1 { self.probe.tap(site, tensor) } else { Ok(tensor) }
            }
            Kind::QRope | Kind::KRope => self.show(site, tensor, 2, self.rows.clone()),
            Kind::Logits | Kind::CappedLogits => match self.sampled {
                Some(row) => self.show(site, tensor, 1, row..row + 1),
                None => Ok(tensor),
            },
            _ => self.show(site, tensor, 1, self.rows.clone()),
        }
    }
}
