//! The activation of the gate: silu(gate) in some ports' `act_fn`, silu(gate) · up in others, and some record
//! silu(gate) as `mlp.act`. What decides is the product with up, or else the projection after it.

use super::follows::share;
use crate::dump::Against;
use crate::probe::{Kind, Site};
use crate::recording::{Recognition, Recording};
use crate::{Error, Result};

/// The keys in the metadata and their values.
const ACT_FN: &str = "act_fn";
const ACT: &str = "act";
const ALONE: &str = "silu(gate)";
const GATED: &str = "silu(gate) * up";

/// Recognises what an activation was recorded after, or reads it from the metadata.
///
/// # Errors
/// The metadata has an unknown value; only a tensor that was not recorded could decide; a tensor cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let act_fn = dump.activations().next();
    match (act_fn, stated(dump, ACT_FN)?, stated(dump, ACT)?) {
        (Some(_), Some(gated), _) => {
            if gated {
                dump.exchange_activations();
            }
            Ok(())
        }
        (Some(layer), None, _) => by_consumer(dump, against, layer),
        (None, _, Some(false)) => {
            dump.exchange_activations();
            Ok(())
        }
        (None, _, Some(true)) => Ok(()),
        (None, _, None) => alone(dump, against),
    }
}

/// Does the metadata say that up is part of it?
fn stated(dump: &Recording, key: &str) -> Result<Option<bool>> {
    match dump.metadata.get(key).map(String::as_str) {
        None => Ok(None),
        Some(ALONE) => Ok(Some(false)),
        Some(GATED) => Ok(Some(true)),
        Some(other) => {
            Err(dump.fault(format!("unknown {key} `{other}` in the metadata: use `{ALONE}` or `{GATED}`")))
        }
    }
}

/// Decides what `act_fn` of this layer is, and of all others.
fn by_consumer(dump: &mut Recording, against: &Against<'_>, layer: u16) -> Result<()> {
    let site = |kind: Kind| Site { layer: Some(layer), kind };
    let what = format!("model.layers.{layer}.mlp.act_fn");
    if dump.has(site(Kind::Act)) {
        return Ok(()); // it is not silu(gate) · up, which was recorded too
    }
    let down = site(Kind::Down);
    let alone = share(dump, against, down)?;
    dump.exchange_activations();
    let gated = share(dump, against, down);
    dump.exchange_activations();
    let right = |share: Option<f64>| share.is_some_and(|share| share <= 1.0);
    let (said, sentence) = match (right(alone), right(gated?)) {
        (true, false) => (ALONE, "silu(gate)"),
        (false, true) => {
            dump.exchange_activations();
            (GATED, "silu(gate) · up")
        }
        _ => {
            let problem =
                format!("{what} may be silu(gate) or silu(gate) · up: nothing recorded shows which");
            let hint = format!(
                "record {down} too; or state it: \"{ACT_FN}\": \"{ALONE}\", or \"{ACT_FN}\": \"{GATED}\", in the metadata"
            );
            return Err(Error::file(&dump.name, problem, hint));
        }
    };
    dump.recognised.push(Recognition {
        what: format!("{what} is {sentence}, as {down} shows"),
        explicit: format!("\"{ACT_FN}\": \"{said}\" in the metadata"),
    });
    Ok(())
}

/// Recognises silu(gate) that was recorded as `mlp.act`.
fn alone(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let Some(act) = dump.sites().find(|site| site.kind == Kind::Act) else { return Ok(()) };
    let down = Site { kind: Kind::Down, ..act };
    if share(dump, against, act)?.is_none_or(|share| share <= 1.0) {
        return Ok(());
    }
    let recorded = share(dump, against, down)?;
    dump.exchange_activations();
    let alone = share(dump, against, down);
    let follows = recorded.is_some_and(|share| share > 1.0) && alone?.is_some_and(|share| share <= 1.0);
    if !follows {
        dump.exchange_activations();
        return Ok(());
    }
    dump.recognised.push(Recognition {
        what: format!("{act} is silu(gate), not yet multiplied by up, as {down} shows"),
        explicit: format!("\"{ACT}\": \"{ALONE}\" in the metadata"),
    });
    Ok(())
}
