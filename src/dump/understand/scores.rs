//! Scores that were recorded before the mask or the scale was applied, as llama.cpp's `kq` and fused kernels
//! do it. The scores themselves cannot show that: a port that really applies no mask computes the same ones.
//! What decides is the next recorded tensor that was computed from them.

use std::fmt;

use super::follows::{Supports, consumer, share, some_of};
use crate::dump::Against;
use crate::dump::engine::Engine;
use crate::dump::replay_noise::{SAMPLED, spread};
use crate::graph::Operation;
use crate::probe::{Kind, Site};
use crate::recording::{Conventions, Recognition, Recording};
use crate::{Error, Result};

/// The key in the metadata.
const KEY: &str = "scores";

/// One way to read recorded scores.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    unmasked: bool,
    unscaled: bool,
}

/// Every reading but the one as they are.
const OTHERS: [Reading; 3] = [
    Reading { unmasked: true, unscaled: false },
    Reading { unmasked: false, unscaled: true },
    Reading { unmasked: true, unscaled: true },
];

/// What one layer says about its scores.
enum Layer {
    /// They are right as they are, or no reading explains them.
    AsTheyAre,
    /// This reading of them agrees with the tensor computed from them, at this site.
    Read(Reading, Site),
    /// Only this reading is what queries and keys give, but nothing computed from them was recorded.
    Unproven(Reading, Site),
}

/// Recognises how scores were recorded, or reads it from the metadata.
///
/// # Errors
/// The metadata has an unknown value; only a tensor that was not recorded could decide; a tensor cannot be
/// read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let scale = scale(dump, against)?;
    if let Some(said) = dump.metadata.get(KEY) {
        let read = Reading::parse(said).ok_or_else(|| {
            dump.fault(format!("unknown {KEY} `{said}` in the metadata: use unmasked, unscaled or both"))
        })?;
        if read.unscaled && scale.is_none() {
            return Err(dump.fault("its scores are not scaled, but the model and so the scale are unknown"));
        }
        read.apply(dump, scale);
        return Ok(());
    }
    let (mut read, mut unproven, mut as_they_are) = (Vec::new(), None, 0);
    for site in some_of(dump, Kind::Scores) {
        match layer(dump, against, site, scale)? {
            Layer::AsTheyAre => as_they_are += 1,
            Layer::Read(reading, consumer) => read.push((reading, consumer)),
            Layer::Unproven(reading, site) => _ = unproven.get_or_insert((reading, site)),
        }
    }
    let Some(&(reading, consumer)) = read.first() else {
        return unproven.map_or(Ok(()), |(reading, site)| Err(undecided(dump, reading, site)));
    };
    // Masking what is masked changes nothing, but scaling what is scaled does.
    let alike = read.iter().all(|(other, _)| other.unscaled == reading.unscaled);
    if !alike || reading.unscaled && as_they_are > 0 {
        return Ok(());
    }
    reading.apply(dump, scale);
    dump.recognised.push(Recognition {
        what: format!("scores were recorded before {}, as {consumer} shows", reading.before()),
        explicit: format!("\"{KEY}\": \"{reading}\" in the metadata"),
    });
    Ok(())
}

/// The scale of the model's scores; `None` if it is unknown.
fn scale(dump: &Recording, against: &Against<'_>) -> Result<Option<f64>> {
    let Some(engine) = Engine::new(dump, against, dump.layers(against)?)? else { return Ok(None) };
    let mut scales = engine.graph.iter().map(|(_, node)| match &node.operation {
        Operation::Scores(scores) => Some(scores.scale),
        _ => None,
    });
    Ok(scales.find_map(|scale| scale))
}

/// Tries every reading of the scores at `site`.
fn layer(dump: &mut Recording, against: &Against<'_>, site: Site, scale: Option<f64>) -> Result<Layer> {
    let (as_they_are, right) = (dump.conventions, share(dump, against, site)?);
    if right.is_some_and(|share| share <= 1.0) {
        return Ok(Layer::AsTheyAre);
    }
    let consumer = consumer(dump, against, site, |_| true)?;
    let hidden = hidden(dump, against, site)?;
    let of_consumer = |dump: &Recording| consumer.map_or(Ok(None), |consumer| share(dump, against, consumer));
    let recorded = of_consumer(dump)?;
    let mut nearest: Option<(f64, Reading)> = None;
    let mut unproven = None;
    // Without queries and keys, another scale cannot be told from a softmax with a temperature.
    let scalable = scale.is_some() && right.is_some();
    let possible =
        |reading: &Reading| (!hidden.is_empty() || !reading.unmasked) && (scalable || !reading.unscaled);
    for reading in OTHERS.into_iter().filter(possible) {
        reading.apply(dump, scale);
        let (own, of_consumer) = (share(dump, against, site), of_consumer(dump));
        dump.conventions = as_they_are;
        if let Some(share) = of_consumer?
            && nearest.is_none_or(|(least, _)| share < least)
        {
            nearest = Some((share, reading));
        }
        // One number in the place of all of them is a mask, and not what queries and keys give.
        let computed = !reading.unmasked || hidden.iter().any(|score| *score != hidden[0]);
        if own?.is_some_and(|share| share <= 1.0) && computed {
            unproven.get_or_insert(reading);
        }
    }
    Ok(match (nearest, consumer) {
        (Some((share, reading)), Some(consumer))
            if Supports::of(recorded, Some(share)) == Supports::Other =>
        {
            Layer::Read(reading, consumer)
        }
        (None, _) if recorded.is_none() => {
            unproven.map_or(Layer::AsTheyAre, |reading| Layer::Unproven(reading, site))
        }
        _ => Layer::AsTheyAre,
    })
}

/// The finite scores of keys that a query may not attend to.
fn hidden(dump: &Recording, against: &Against<'_>, site: Site) -> Result<Vec<f64>> {
    let Some(scores) = dump.fit(site, against)? else { return Ok(vec![]) };
    let (places, keys) = (spread(&dump.places(), SAMPLED), scores.shape().width);
    let heads = scores.shape().heads.unwrap_or(1);
    let rows = scores.rows(&places)?;
    let entries = rows.iter().enumerate();
    let finite =
        entries.filter(|&(n, score)| score.is_finite() && !dump.sees(places[n / (heads * keys)], n % keys));
    Ok(finite.map(|(_, &score)| score).collect())
}

/// The error for scores that two readings explain.
fn undecided(dump: &Recording, reading: Reading, site: Site) -> Error {
    let probs = Site { kind: Kind::Probs, ..site };
    let before = reading.before();
    let what = format!(
        "{site} was recorded before {before}, or the port never applies it: nothing recorded shows which"
    );
    let hint = format!(
        "record {probs} too; or, if the scores were recorded before {before}, state it: \"{KEY}\": \"{reading}\" in the metadata"
    );
    Error::file(&dump.name, what, hint)
}

impl Reading {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let known = words.iter().all(|word| ["unmasked", "unscaled"].contains(word));
        let has = |word| words.contains(&word);
        known.then(|| Self { unmasked: has("unmasked"), unscaled: has("unscaled") })
    }

    /// From now on, scores are read in this way.
    fn apply(self, dump: &mut Recording, scale: Option<f64>) {
        let scale = scale.filter(|_| self.unscaled);
        dump.conventions = Conventions { unmasked: self.unmasked, scale, ..dump.conventions };
    }

    /// The operations that they were recorded before.
    const fn before(self) -> &'static str {
        match (self.unscaled, self.unmasked) {
            (true, true) => "scale and mask",
            (true, false) => "the scale",
            _ => "the mask",
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.unmasked, self.unscaled) {
            (true, true) => "unmasked, unscaled",
            (false, true) => "unscaled",
            _ => "unmasked",
        })
    }
}
