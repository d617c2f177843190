//! Attention with deviations: scores, softmax and the sum of values.

use super::{Deviated, is_padding};
use crate::Result;
use crate::diagnose::deviation::{Deviation, Leaks, MaskValue, Sees};
use crate::graph::{Context, Scores};
use crate::oracle::{self, Arithmetic, Exact, RowPlaces, Rows, Sight, Slots};

impl Deviated<'_> {
    fn misread(&self, x: &Rows, head_dim: usize) -> Option<Rows> {
        last!(self, Misread).map(|how| how.read(x, head_dim))
    }

    fn leaks(&self) -> Option<Leaks> {
        last!(self, Leaks).copied()
    }

    /// Whether scores are changed before the mask.
    fn changes_scores(&self) -> bool {
        self.deviations.iter().any(|d| matches!(d, Deviation::Output(_) | Deviation::ScorePlus(_)))
    }

    /// The scores of all keys as the port changes them before the mask, `[queries, heads * slots]`.
    fn before_mask(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Rows {
        let mut all = oracle::scores(q, k, &sight.batch(), sight.keys, scores, |_, _, _| true);
        if let Some(term) = last!(self, ScorePlus) {
            let t = sight.keys.len();
            for (n, score) in all.values.iter_mut().enumerate() {
                let (query, head, key) = (n / all.width, n % all.width / t, n % t);
                let distance = sight.queries[query].1 as f64 - key as f64;
                *score += term.of(head, scores.heads.len(), distance, key);
            }
        }
        self.returns(all)
    }

    /// Scores, masked as the port masks them, `[queries, heads * slots]`.
    pub(super) fn masked_scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Rows {
        let other = last!(self, Sees).copied();
        let sees = |query: usize, _, slot: usize| match other {
            None => sight.sees(scores.mask, query, slot),
            Some(other) => other.sees(sight.pass, scores.mask, sight.queries[query], slot),
        };
        let misread = self.misread(k, scores.head_dim);
        let k = misread.as_ref().unwrap_or(k);
        let (q, k) = (&*self.reads(0, q), &*self.reads(1, k));
        let mut rows = oracle::scores(q, k, &sight.batch(), sight.keys, scores, sees);
        if self.changes_scores() {
            let all = self.before_mask(q, k, sight, scores);
            for (score, changed) in rows.values.iter_mut().zip(all.values) {
                if *score != f64::NEG_INFINITY {
                    *score = changed;
                }
            }
        }
        if let Some(Deviation::ScoreSoftcap { cap: Some(cap), after_mask: true }) = self.deviations.last() {
            rows = Exact.softcap(&rows, *cap);
        }
        if let Some(value) = last!(self, MaskValue) {
            let all = oracle::scores(q, k, &sight.batch(), sight.keys, scores, |_, _, _| true);
            for (score, computed) in rows.values.iter_mut().zip(all.values) {
                if *score == f64::NEG_INFINITY {
                    *score = match value {
                        MaskValue::Is(value) => *value,
                        MaskValue::Adds(value) => computed + value,
                    };
                }
            }
        }
        if other == Some(Sees::Pads { zero: true }) {
            let t = sight.keys.len();
            for (n, score) in rows.values.iter_mut().enumerate() {
                let (query, slot) = (n / rows.width, n % t);
                let (batch, own) = sight.queries[query];
                if scores.mask.allows(own, slot) && is_padding(sight.pass.slot((batch, slot))) {
                    *score = 0.0;
                }
            }
        }
        rows
    }

    /// The softmax as a port computes it: a query that sees no key gets weights of 0 / 0, NaN.
    pub(super) fn weights(&self, scores: &Rows, slots: usize, at: &RowPlaces) -> Rows {
        let scores = &*self.reads(0, scores);
        if let Some(low) = last!(self, LowSoftmax) {
            return low.of(scores, slots);
        }
        if let Some(form) = last!(self, SoftmaxForm) {
            return self.returns(form.of(scores, slots));
        }
        let Some(leaks) = self.leaks() else {
            let mut probs = oracle::softmax(scores, slots);
            for (run, scores) in probs.values.chunks_exact_mut(slots).zip(scores.values.chunks_exact(slots)) {
                if scores.iter().all(|&s| s == f64::NEG_INFINITY) {
                    run.fill(f64::NAN);
                }
            }
            return self.returns(probs);
        };
        let leaky = Rows::from_fn(scores.len(), scores.width, |r, j| {
            let (score, (batch, own), slot) = (scores.row(r)[j], at.places[r], j % slots);
            let leaks = match leaks {
                Leaks::All => true,
                Leaks::Pads => is_padding(at.pass.slot((batch, slot))),
                Leaks::PadsWithin(window) => own < slot + window && is_padding(at.pass.slot((batch, slot))),
            };
            if score == f64::NEG_INFINITY && leaks { 0.0 } else { score }
        });
        oracle::softmax(&leaky, slots)
    }

    /// Masked keys that leak into the softmax have probability, but no value vector.
    pub(super) fn weighted_values(
        &self,
        probs: &Rows,
        v: &Rows,
        sight: &Sight,
        context: &Context,
    ) -> Result<Rows> {
        let misread = self.misread(v, context.head_dim);
        let v = misread.as_ref().unwrap_or(v);
        let (probs, v) = (&*self.reads(0, probs), &*self.reads(1, v));
        if self.leaks().is_none() {
            return Ok(self.returns(Exact.context(probs, v, sight, context)?));
        }
        let length = sight.pass.length();
        let places = (0..sight.batch().last().map_or(0, |last| last + 1))
            .flat_map(|batch| (0..length).map(move |slot| (batch, slot)));
        let real: Vec<_> = places.filter(|&place| !is_padding(sight.pass.slot(place))).collect();
        let rows: Vec<_> = real.iter().filter_map(|&(b, slot)| sight.keys.at(b, slot)).collect();
        let places: Vec<_> = real.into_iter().filter(|&(b, slot)| sight.keys.at(b, slot).is_some()).collect();
        let values = Rows::from_fn(rows.len(), v.width, |r, j| v.row(rows[r])[j]); // [real, kv_heads * head_dim]
        let slots = Slots::new(&places, length);
        Exact.context(probs, &values, &Sight { keys: &slots, ..sight.clone() }, context)
    }
}
