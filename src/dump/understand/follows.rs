//! Whether a recorded tensor follows from the recorded tensors before it, as they are read at present. This
//! is how a consumer of a tensor decides between two ways to read that tensor.

use crate::Result;
use crate::compare::ulp;
use crate::dump::Against;
use crate::dump::engine::Engine;
use crate::dump::recomputed::compare_with_replay;
use crate::dump::replay::{Replay, Way};
use crate::dump::replay_noise::spread;
use crate::dump::span::usable;
use crate::dump::value::Value;
use crate::graph::NodeId;
use crate::judge::Verdict;
use crate::probe::{Kind, Site};
use crate::recording::{Recording, SiteTensor};

/// The number of rows on which two readings are compared: they differ in every row, or in none.
const ROWS: usize = 8;

/// The number of layers in which a convention is looked for: it is the same in all of them.
const LAYERS: usize = 8;

/// How many times nearer a reading must be to count, if neither is within budget.
const NEARER: f64 = 4.0;

/// The largest share of its budget that the tensor recorded at `site` uses, on a few rows; over 1 if it does
/// not follow. `None` if it was not recorded or cannot be recomputed.
///
/// # Errors
/// A tensor or a weight cannot be read.
pub(super) fn share(dump: &Recording, against: &Against<'_>, site: Site) -> Result<Option<f64>> {
    let Some(engine) = Engine::new(dump, against, dump.layers(against)?)? else { return Ok(None) };
    match (engine.node(site), dump.fit(site, against)?) {
        (Some(id), Some(recorded)) => share_of(dump, against, &engine, id, &recorded),
        _ => Ok(None),
    }
}

/// The same for silu(gate) of the layer of `site`.
///
/// # Errors
/// A tensor or a weight cannot be read.
pub(super) fn activation_share(dump: &Recording, against: &Against<'_>, site: Site) -> Result<Option<f64>> {
    let Some(engine) = Engine::new(dump, against, dump.layers(against)?)? else { return Ok(None) };
    let Some(layer) = site.layer else { return Ok(None) };
    match (engine.activation(layer), dump.fit_activation(layer, against)?) {
        (Some(id), Some(recorded)) => share_of(dump, against, &engine, id, &recorded),
        _ => Ok(None),
    }
}

fn share_of(
    dump: &Recording,
    against: &Against<'_>,
    engine: &Engine<'_>,
    id: NodeId,
    recorded: &SiteTensor,
) -> Result<Option<f64>> {
    let Some((replay, way)) = ready(dump, against, engine, id)? else { return Ok(None) };
    let compared = compare_with_replay(&replay, id, recorded, &way, &spread(&replay.places, ROWS))?;
    Ok(compared.and_then(|(compared, _)| match compared.verdict {
        Verdict::Pass(share) => Some(share),
        Verdict::Differs(difference) => Some(difference.ratio),
        _ => None,
    }))
}

/// A replay that has computed everything before `id`, and how `id` is then computed; `None` if it cannot be.
///
/// # Errors
/// A tensor or a weight cannot be read.
pub(super) fn ready<'a>(
    dump: &'a Recording,
    against: &'a Against<'a>,
    engine: &'a Engine<'a>,
    id: NodeId,
) -> Result<Option<(Replay<'a>, Way)>> {
    let (cut, read) = usable(dump, against, engine, id)?;
    let mut replay = Replay::new(dump, against, engine);
    read.into_iter().for_each(|(node, recorded)| replay.keep(node, Value::Recorded(recorded)));
    for node in cut.compute.into_iter().filter(|&node| node != id && !engine.on_the_way(node)) {
        let computed = replay.way(node).map_or(Ok(None), |way| replay.computed(node, &way))?;
        let Some((value, _)) = computed else { return Ok(None) };
        replay.keep(node, value);
    }
    Ok(replay.way(id).map(|way| (replay, way)))
}

/// The reading of a tensor that a tensor computed from it supports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Supports {
    /// As it was recorded.
    Recorded,
    /// The other reading.
    Other,
    /// Neither: both explain it, or none does.
    Neither,
}

impl Supports {
    /// Decides by the shares of its budget that a tensor uses under both readings. If a mistake elsewhere
    /// keeps both over budget, one must be [`NEARER`] times nearer.
    pub fn of(recorded: Option<f64>, other: Option<f64>) -> Self {
        match (recorded, other) {
            (Some(recorded), Some(other))
                if recorded > 1.0 && (other <= 1.0 || other * NEARER < recorded) =>
            {
                Self::Other
            }
            (Some(recorded), Some(other))
                if other > 1.0 && (recorded <= 1.0 || recorded * NEARER < other) =>
            {
                Self::Recorded
            }
            (None, Some(other)) if other <= 1.0 => Self::Other,
            (Some(recorded), None) if recorded <= 1.0 => Self::Recorded,
            _ => Self::Neither,
        }
    }
}

/// The first recorded site after `of` that is computed from it, among those that `may` be.
///
/// # Errors
/// A tensor cannot be read.
pub(super) fn consumer(
    dump: &Recording,
    against: &Against<'_>,
    of: Site,
    may: impl Fn(&Site) -> bool,
) -> Result<Option<Site>> {
    // Every layer has fewer sites than this.
    for site in dump.sites().filter(|site| *site > of && may(site)).take(Kind::ALL.len()) {
        if dump.span(site, against)?.is_some_and(|span| span.inputs.contains(&of)) {
            return Ok(Some(site));
        }
    }
    Ok(None)
}

/// Are the tensors recorded at these sites equal to within one rounding, on a few rows?
///
/// # Errors
/// A tensor cannot be read.
pub(super) fn equal(dump: &Recording, against: &Against<'_>, a: Site, b: Site) -> Result<bool> {
    let (Some(a), Some(b)) = (dump.fit(a, against)?, dump.fit(b, against)?) else { return Ok(false) };
    let places = spread(&dump.places(), ROWS);
    let (a, b) = (a.rows(&places)?, b.rows(&places)?);
    let equal = |(a, b): (&f64, &f64)| (a - b).abs() <= ulp(dump.dtype) * b.abs();
    Ok(!a.is_empty() && a.len() == b.len() && a.iter().zip(&b).all(equal))
}

/// The recorded sites of `kind`, of at most [`LAYERS`] layers, evenly spread.
pub(super) fn some_of(dump: &Recording, kind: Kind) -> Vec<Site> {
    let all: Vec<Site> = dump.sites().filter(|site| site.kind == kind).collect();
    match all.len() {
        0..=LAYERS => all,
        n => (0..LAYERS).map(|layer| all[layer * (n - 1) / (LAYERS - 1)]).collect(),
    }
}
