//! The precision of recorded values, where nothing states it: numbers in half precision that were widened to f32
//! when they were saved, and numbers computed in f32 that were saved in half precision.
//!
//! Values in half precision look the same in both cases. What decides is whether an operation's output is the
//! nearest number to what its recorded inputs give: if the port computed with other inputs than were saved, it is
//! not.

use std::collections::BTreeSet;

use candle_core::DType;

use super::follows::{ready, share};
use crate::diagnose::round;
use crate::dump::Against;
use crate::dump::engine::Engine;
use crate::dump::rounded::roundings;
use crate::graph::Operation;
use crate::probe::{Kind, Site};
use crate::recording::{Conversion, Recognition, Recording, Saved};
use crate::{Error, Result};

/// The keys in the metadata.
const DTYPE: &str = "dtype";
const SAVED_AS: &str = "saved_as";

/// The number of values that must be in half precision.
const VALUES: usize = 64;

/// The share of roundings to nearest, or of truncations, from which an operation was computed from its recorded
/// inputs. Where they were saved after the fact, it is under 0.9.
const COMPUTED: f64 = 0.97;

/// Errors larger than this many ulps are not a matter of rounding.
const ROUNDING: f64 = 3.0;

/// Recognises the precision of the recorded values, or reads from the metadata how they were saved.
///
/// # Errors
/// The metadata has an unknown value; nothing recorded shows which of two readings is right, and they lead to
/// different verdicts; a tensor cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    if let Some(said) = dump.metadata.get(SAVED_AS) {
        let Some(saved) = Saved::parse(said) else {
            let known = "use bf16, f16, `bf16 truncated` or `f16 truncated`";
            return Err(dump.fault(format!("unknown {SAVED_AS} `{said}` in the metadata: {known}")));
        };
        let stated = dump.metadata.contains_key(DTYPE);
        read_as(dump, if stated { dump.dtype } else { DType::F32 }, Some(saved));
        return Ok(());
    }
    let (stated, before) = (dump.metadata.contains_key(DTYPE), dump.dtype);
    let stored =
        if stated { stored(dump).filter(|_| before == DType::F32) } else { Some(before).filter(is_half) };
    let half = if stated || stored.is_some() { stored } else { widened(dump, against)? };
    let Some(half) = half else { return Ok(()) };
    let name = half.as_str();
    read_as(dump, half, None);
    match shown(dump, against, half)? {
        Shown::Saved(conversion) => {
            let saved = Saved { dtype: half, conversion };
            read_as(dump, DType::F32, Some(saved));
            dump.recognised.push(Recognition {
                what: format!(
                    "values were computed in f32 and saved as {saved}: every one is a {name} number, but not the nearest to what its recorded inputs give"
                ),
                explicit: format!("\"{DTYPE}\": \"f32\", \"{SAVED_AS}\": \"{saved}\" in the metadata"),
            });
        }
        _ if stated => read_as(dump, before, None),
        shown => {
            if matches!(shown, Shown::Nothing) {
                refuse_if_it_matters(dump, against, half)?;
            }
            if stored.is_none() {
                dump.recognised.push(Recognition {
                    what: format!("the port computes in {name}: every computed value is a {name} number"),
                    explicit: format!("\"{DTYPE}\": \"{name}\" in the metadata"),
                });
            }
        }
    }
    Ok(())
}

fn read_as(dump: &mut Recording, dtype: DType, saved: Option<Saved>) {
    (dump.dtype, dump.saved) = (dtype, saved);
}

/// The half precision in which every tensor is stored; `None` if one is stored in another dtype.
fn stored(dump: &Recording) -> Option<DType> {
    let dtypes: BTreeSet<&str> =
        dump.sites().filter_map(|site| dump.stored_dtype(site)).map(|d| d.as_str()).collect();
    [DType::BF16, DType::F16].into_iter().find(|half| dtypes.iter().eq([half.as_str()].iter()))
}

fn is_half(dtype: &DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F16)
}

/// The half precision that every computed value has although it is stored with more. The embedding is not
/// computed: its rows have the precision of the weights. Ports often compute scores, probabilities and logits in
/// f32, so these may have more.
fn widened(dump: &Recording, against: &Against<'_>) -> Result<Option<DType>> {
    for dtype in [DType::BF16, DType::F16] {
        let (mut others, mut exempt) = (Some(0), Some(0));
        for site in dump.sites().filter(|site| site.kind != Kind::Embed) {
            let of = if matches!(site.kind, Kind::Scores | Kind::Probs | Kind::Logits) {
                &mut exempt
            } else {
                &mut others
            };
            if let Some(known) = *of {
                *of = held(dump, against, site, dtype)?.map(|more| known + more);
            }
            if others.is_none() {
                break;
            }
        }
        let enough = |values: Option<usize>| values.is_some_and(|values| values >= VALUES);
        if enough(others) || others == Some(0) && enough(exempt) {
            return Ok(Some(dtype));
        }
    }
    Ok(None)
}

/// The number of values of a tensor that are numbers of `dtype` other than 0, ±1 and infinities; `None` if one is
/// not a number of `dtype`.
fn held(dump: &Recording, against: &Against<'_>, site: Site, dtype: DType) -> Result<Option<usize>> {
    let Some(recorded) = dump.fit(site, against)? else { return Ok(Some(0)) };
    let values: Vec<f64> = recorded.tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let plain = |value: f64| !value.is_finite() || value == 0.0 || value.abs() == 1.0;
    let mut values = values.into_iter().filter(|&value| !plain(value));
    let mut count = 0;
    let all = values.all(|value| {
        count += 1;
        round(value, dtype) == value
    });
    Ok(all.then_some(count))
}

/// What single operations between recorded tensors show.
enum Shown {
    /// The port computed with the recorded values.
    Computed,
    /// It computed with values of more precision, which were converted when they were saved.
    Saved(Conversion),
    /// Neither.
    Nothing,
}

/// Compares products and sums in the first and the last layer with what their recorded inputs give.
fn shown(dump: &Recording, against: &Against<'_>, half: DType) -> Result<Shown> {
    let layers = dump.layers(against)?;
    let Some(engine) = Engine::new(dump, against, layers)? else { return Ok(Shown::Nothing) };
    let ends = |layer: u16| layer == 0 || usize::from(layer) + 1 >= layers;
    let (mut products, mut sums, mut truncated) = (0, 0, 0);
    for site in dump.sites().filter(|site| site.layer.is_none_or(ends)) {
        let (Some(id), Some(recorded)) = (engine.node(site), dump.fit(site, against)?) else { continue };
        let Some((replay, way)) = ready(dump, against, &engine, id)? else { continue };
        let roundings = roundings(&replay, id, &recorded, &way, half)?;
        let Some(roundings) = roundings.filter(|r| r.entries() >= VALUES && r.rms() <= ROUNDING) else {
            continue;
        };
        let computed = roundings.nearest() >= COMPUTED || roundings.cut() >= COMPUTED;
        match engine.graph.node(id).map(|node| &node.operation) {
            Some(Operation::Linear(_) | Operation::WeightedSum { .. }) if computed => {
                return Ok(Shown::Computed);
            }
            Some(Operation::Linear(_)) => products += 1,
            Some(Operation::WeightedSum { .. }) => sums += 1,
            // Its result does not depend on the scale of its input, so it shows how the output was converted.
            Some(Operation::Norm(_)) => truncated += if roundings.bias().is_some() { 1 } else { -1 },
            _ => {}
        }
    }
    // A kernel may round within a product, or add a residual before it rounds, but hardly both.
    Ok(match (products, sums) {
        (1.., 1..) if truncated > 0 => Shown::Saved(Conversion::Truncated),
        (1.., 1..) => Shown::Saved(Conversion::Rounded),
        _ => Shown::Nothing,
    })
}

/// Refuses a recording whose values fail as computed in half precision, and pass as saved so.
fn refuse_if_it_matters(dump: &mut Recording, against: &Against<'_>, half: DType) -> Result<()> {
    let Some(wrong) = first_wrong(dump, against)? else { return Ok(()) };
    read_as(dump, DType::F32, Some(Saved { dtype: half, conversion: Conversion::Rounded }));
    let saved = first_wrong(dump, against);
    read_as(dump, half, None);
    if saved?.is_some() {
        return Ok(());
    }
    let name = half.as_str();
    let what = format!(
        "{wrong} is wrong if the port computes in {name}, and right if it computes in f32 and saves as {name}: nothing recorded shows which"
    );
    let hint = format!(
        "state it: \"{DTYPE}\": \"{name}\", or \"{DTYPE}\": \"f32\", \"{SAVED_AS}\": \"{name}\", in the metadata"
    );
    Err(Error::file(&dump.name, what, hint))
}

/// The first recorded site that does not follow from its recorded inputs.
fn first_wrong(dump: &Recording, against: &Against<'_>) -> Result<Option<Site>> {
    for site in dump.sites() {
        if share(dump, against, site)?.is_some_and(|share| share > 1.0) {
            return Ok(Some(site));
        }
    }
    Ok(None)
}
