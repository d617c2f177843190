//! Residual additions whose recorded output equals one of their inputs: the port keeps the residual apart from
//! the branch, as fused kernels do, and adds the two inside the next norm. A port that forgets the addition
//! records the same tensors. What decides is the next tensor that was computed from the sum.

use std::collections::BTreeMap;

use super::follows::{Supports, consumer, equal, share};
use crate::dump::Against;
use crate::probe::{Kind, Site};
use crate::recording::{Recognition, Recording, Sites};
use crate::{Error, Result};

/// The key in the metadata, and its only value.
const KEY: &str = "residual";
const APART: &str = "apart";

/// The number of additions whose consumers are computed.
const PROVED: usize = 8;

/// Additions, and the input that the output recorded there equals.
type Apart = BTreeMap<Site, Site>;

/// Recognises residual additions that were not recorded, or reads from the metadata that they were not. They
/// are left out, so that what follows is computed from their inputs.
///
/// # Errors
/// The metadata has an unknown value; only a tensor that was not recorded could decide; a tensor cannot be
/// read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let stated = dump.metadata.get(KEY);
    if let Some(other) = stated.filter(|said| *said != APART) {
        return Err(dump.fault(format!("unknown {KEY} `{other}` in the metadata: use {APART}")));
    }
    let stated = stated.is_some();
    let apart = apart(dump, against, stated)?;
    let Some((&first, &equals)) = apart.first_key_value() else { return Ok(()) };
    if stated {
        leave_out(dump, &apart);
        return Ok(());
    }
    match proved(dump, against, &apart)? {
        Proof::Added(consumer) => {
            let more = if apart.len() > 1 { format!(" and {} more", apart.len() - 1) } else { String::new() };
            leave_out(dump, &apart);
            dump.recognised.push(Recognition {
                what: format!(
                    "{first}{more} equal{} {equals}: the residual is kept apart, and {consumer} contains their sum",
                    if apart.len() > 1 { "" } else { "s" }
                ),
                explicit: format!("\"{KEY}\": \"{APART}\" in the metadata"),
            });
            Ok(())
        }
        Proof::NotAdded => Ok(()),
        Proof::Missing => Err(Error::file(
            &dump.name,
            format!(
                "{first} equals {equals}: the residual is kept apart, or it is not added: nothing recorded shows which"
            ),
            format!(
                "record {} too; or, if the residual is kept apart, state it: \"{KEY}\": \"{APART}\" in the metadata",
                next(first, dump.layers(against)?)
            ),
        )),
    }
}

/// What the tensors computed from the sums show.
enum Proof {
    /// They were computed from the sums; this is the first of them.
    Added(Site),
    /// They were not.
    NotAdded,
    /// None was recorded.
    Missing,
}

/// The additions whose recorded output equals an input. An output is also compared with what the branch must
/// be if the branch was not recorded.
fn apart(dump: &mut Recording, against: &Against<'_>, stated: bool) -> Result<Apart> {
    let layers = dump.layers(against)?;
    let mut apart = Apart::new();
    let kinds = dump.kinds(against)?;
    for kind in [Kind::PostNormInput, Kind::FfnNormInput, Kind::Block] {
        let mut alone = None; // is the recorded output the branch alone? The same in every layer.
        let sums: Vec<Site> = dump.sites().filter(|site| site.kind == kind).collect();
        for (n, &sum) in sums.iter().enumerate() {
            if n == 1 && apart.keys().all(|site| site.kind != kind) {
                break; // the first one was recorded after the addition, and so are the others
            }
            let inputs = sum.inputs(layers, kinds);
            let mut input = None;
            for &other in inputs.iter().rev() {
                if input.is_none() && equal(dump, against, sum, other)? {
                    input = Some(other);
                }
            }
            let branch = inputs.last().copied().filter(|&branch| input.is_none() && !dump.has(branch));
            if let Some(branch) = branch {
                let alone = match alone {
                    Some(alone) => alone,
                    None => *alone.insert(is_alone(dump, against, (sum, branch), stated)?),
                };
                input = Some(branch).filter(|_| alone);
            }
            apart.extend(input.map(|input| (sum, input)));
        }
    }
    Ok(apart)
}

/// Is the tensor recorded as this sum the branch alone? If it was stated, everything but the sum itself is.
fn is_alone(
    dump: &mut Recording,
    against: &Against<'_>,
    (sum, branch): (Site, Site),
    stated: bool,
) -> Result<bool> {
    if stated {
        return Ok(share(dump, against, sum)?.is_none_or(|share| share > 1.0));
    }
    is_branch(dump, against, sum, branch)
}

/// Is the tensor recorded as this sum what the branch must be, and not the sum?
fn is_branch(dump: &mut Recording, against: &Against<'_>, sum: Site, branch: Site) -> Result<bool> {
    if share(dump, against, sum)?.is_none_or(|share| share <= 1.0) {
        return Ok(false);
    }
    let before = dump.reassign(|site| Some(if site == sum { branch } else { site }));
    let share = share(dump, against, branch);
    dump.restore(before);
    Ok(share?.is_some_and(|share| share <= 1.0))
}

/// Computes what follows the additions twice: from the recorded outputs, and from the sums.
fn proved(dump: &mut Recording, against: &Against<'_>, apart: &Apart) -> Result<Proof> {
    let sums: Vec<Site> = apart.keys().copied().collect();
    let step = sums.len().div_ceil(PROVED).max(1);
    let mut consumers = Vec::new();
    for &sum in sums.iter().rev().step_by(step).rev() {
        consumers.extend(consumer(dump, against, sum, |site| !apart.contains_key(site))?);
    }
    let shares = |dump: &Recording| {
        let of = |&consumer: &Site| share(dump, against, consumer);
        consumers.iter().map(of).collect::<Result<Vec<Option<f64>>>>()
    };
    let recorded = shares(dump)?;
    let before = leave_out(dump, apart);
    let added = shares(dump);
    dump.restore(before);
    let mut proof = Proof::Missing;
    for ((&consumer, recorded), added) in consumers.iter().zip(recorded).zip(added?) {
        match Supports::of(recorded, added) {
            Supports::Other if matches!(proof, Proof::Missing) => proof = Proof::Added(consumer),
            Supports::Other => {}
            Supports::Neither if recorded.is_none() => {}
            Supports::Recorded | Supports::Neither => return Ok(Proof::NotAdded),
        }
    }
    Ok(proof)
}

/// Leaves the outputs of these additions out. An output that equals an input which was not recorded is that
/// input.
fn leave_out(dump: &mut Recording, apart: &Apart) -> Sites {
    let recorded: Vec<Site> = dump.sites().collect();
    dump.reassign(|site| match apart.get(&site) {
        None => Some(site),
        Some(input) => Some(*input).filter(|input| !recorded.contains(input)),
    })
}

/// The site to record in order to see what the next operation was computed from.
fn next(sum: Site, layers: usize) -> Site {
    match sum.layer.map(usize::from) {
        Some(layer) if sum.kind == Kind::PostNormInput => Site::layer(layer, Kind::PostNorm),
        Some(layer) if sum.kind == Kind::FfnNormInput => Site::layer(layer, Kind::FfnNorm),
        Some(layer) if layer + 1 < layers => Site::layer(layer + 1, Kind::InputNorm),
        _ => Site::model(Kind::FinalNorm),
    }
}
