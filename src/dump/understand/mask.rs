//! Masked scores that are a finite number instead of −inf: −1e9, −65504, or a large number added to the score.
//!
//! A score counts as masked if its weight in the softmax of its row is exactly 0 in the port's dtype. A mask
//! whose number is too small for that is a mistake, and its scores are left as they are.

use std::collections::BTreeMap;

use super::follows::some_of;
use crate::Result;
use crate::compare::vanishes;
use crate::dump::Against;
use crate::dump::replay_noise::{SAMPLED, spread};
use crate::probe::Kind;
use crate::recording::{Recognition, Recording, SiteTensor};

/// The key in the metadata.
const KEY: &str = "mask_value";

/// Recognises a finite mask, or reads it from the metadata.
///
/// # Errors
/// The metadata is not a negative number, or a tensor cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let stated = dump.metadata.get(KEY).map(|said| said.parse::<f64>().ok().filter(|value| *value < 0.0));
    if stated == Some(None) {
        return Err(dump.fault(format!("{KEY} in the metadata must be a negative number, for example -1e9")));
    }
    let mut seen = Seen::default();
    for site in some_of(dump, Kind::Scores) {
        if let Some(scores) = dump.fit(site, against)? {
            seen.scores(dump, &scores)?;
        }
    }
    match stated.flatten() {
        Some(value) => dump.conventions.masked_below = Some(value / 2.0).filter(|limit| seen.vanish(*limit)),
        None => {
            let Some((value, limit)) = seen.mask() else { return Ok(()) };
            dump.conventions.masked_below = Some(limit);
            let value = written(value);
            dump.recognised.push(Recognition {
                what: format!("masked scores are {value} instead of -inf"),
                explicit: format!("\"{KEY}\": \"{value}\" in the metadata"),
            });
        }
    }
    Ok(())
}

/// A finite score.
#[derive(Clone, Copy)]
struct Entry {
    score: f64,
    /// Whether its query may attend to its key.
    allowed: bool,
    /// Whether its weight in the softmax is 0 in the port's dtype.
    vanishes: bool,
}

/// The finite scores of some rows.
#[derive(Default)]
struct Seen(Vec<Entry>);

impl Seen {
    /// Adds the finite scores of some rows of one tensor.
    fn scores(&mut self, dump: &Recording, scores: &SiteTensor) -> Result<()> {
        let (places, keys) = (spread(&dump.places(), SAMPLED), scores.shape().width);
        let rows = scores.rows(&places)?;
        let heads = scores.shape().heads.unwrap_or(1);
        for (n, row) in rows.chunks_exact(keys).enumerate() {
            let place = places[n / heads];
            let finite = || row.iter().enumerate().filter(|(_, score)| score.is_finite());
            let largest = finite().map(|(_, &score)| score).fold(f64::MIN, f64::max);
            let uniform = finite().count() > 1 && finite().all(|(_, &score)| score == largest);
            if uniform {
                continue; // a query that sees no key: nothing stands out from its masked scores
            }
            self.0.extend(finite().map(|(key, &score)| Entry {
                score,
                allowed: dump.sees(place, key),
                vanishes: vanishes(score - largest, dump.dtype),
            }));
        }
        Ok(())
    }

    /// The number that masked scores have, and the limit at or below which a score is masked; `None` if there
    /// is no finite mask, or if it leaves masked keys a weight.
    fn mask(&self) -> Option<(f64, f64)> {
        if self.0.iter().all(|entry| entry.allowed) {
            return None;
        }
        self.repeated().or_else(|| self.added()).filter(|(_, limit)| self.vanish(*limit))
    }

    /// One number in the place of all masked scores, or nearly all. A computed score hardly ever repeats so
    /// often.
    fn repeated(&self) -> Option<(f64, f64)> {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        let vanishing = || self.0.iter().filter(|entry| entry.vanishes);
        vanishing().for_each(|entry| *counts.entry(entry.score.to_bits()).or_default() += 1);
        let (bits, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let value = f64::from_bits(bits);
        let stray = vanishing().any(|entry| entry.allowed && entry.score < value);
        (count > 1 && count * 2 > vanishing().count() && !stray).then_some((value, value))
    }

    /// A number that was added to each masked score.
    fn added(&self) -> Option<(f64, f64)> {
        let mut masked: Vec<f64> = self.0.iter().filter(|e| !e.allowed).map(|e| e.score).collect();
        masked.sort_by(f64::total_cmp);
        let least = self.0.iter().filter(|e| e.allowed).map(|e| e.score).fold(f64::MAX, f64::min);
        let most = masked.last().copied().filter(|most| *most < least)?;
        Some((two_digits(masked[masked.len() / 2]), f64::midpoint(most, least)))
    }

    /// Do all scores at or below `limit` vanish in the softmax?
    fn vanish(&self, limit: f64) -> bool {
        self.0.iter().all(|entry| entry.vanishes || entry.score > limit)
    }
}

/// The number rounded to two significant digits.
fn two_digits(value: f64) -> f64 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// `-1e9`, `-65504`: as a user would write it.
fn written(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e6 { format!("{value}") } else { format!("{:e}", value as f32) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(-1e9, "-1e9")]
    #[case(-65504.0, "-65504")]
    #[case(-10000.0, "-10000")]
    #[case(f64::from(-1e30f32), "-1e30")]
    fn a_mask_is_written_as_a_user_would_write_it(#[case] value: f64, #[case] text: &str) {
        assert_eq!(written(value), text);
    }
}
