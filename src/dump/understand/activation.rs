//! The activation of the gate: silu(gate) in some ports' `act_fn`, silu(gate) · up in others, and some record
//! silu(gate) as `mlp.act`. What decides is the product with up, or else the projection after it.

use super::follows::{activation_share, share};
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

/// The first site that was recorded after `mlp.act` of a layer. All later ones are computed from it.
fn after(dump: &Recording, act: Site) -> Option<Site> {
    dump.sites().find(|site| *site > act)
}

/// Is a share within budget?
fn right(share: Option<f64>) -> bool {
    share.is_some_and(|share| share <= 1.0)
}

/// Decides what `act_fn` of this layer is, and of all others.
fn by_consumer(dump: &mut Recording, against: &Against<'_>, layer: u16) -> Result<()> {
    let act = Site { layer: Some(layer), kind: Kind::Act };
    let what = format!("model.layers.{layer}.mlp.act_fn");
    if dump.has(act) {
        return Ok(()); // it is not silu(gate) · up, which was recorded too
    }
    let consumer = after(dump, act).unwrap_or(Site { kind: Kind::Down, ..act });
    let alone = share(dump, against, consumer)?;
    dump.exchange_activations();
    let gated = share(dump, against, consumer);
    dump.exchange_activations();
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
                "record model.layers.{layer}.mlp.down_proj too; or state it: \"{ACT_FN}\": \"{ALONE}\", or \"{ACT_FN}\": \"{GATED}\", in the metadata"
            );
            return Err(Error::file(&dump.name, problem, hint));
        }
    };
    dump.recognised.push(Recognition {
        what: format!("{what} is {sentence}, as {consumer} shows"),
        explicit: format!("\"{ACT_FN}\": \"{said}\" in the metadata"),
    });
    Ok(())
}

/// Recognises silu(gate) that was recorded as `mlp.act`.
fn alone(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let Some(act) = dump.sites().find(|site| site.kind == Kind::Act) else { return Ok(()) };
    if share(dump, against, act)?.is_none_or(|share| share <= 1.0) {
        return Ok(());
    }
    let consumer = after(dump, act);
    let of_consumer = |dump: &Recording| consumer.map_or(Ok(None), |site| share(dump, against, site));
    let recorded = of_consumer(dump)?;
    dump.exchange_activations();
    let (alone, is_silu) = (of_consumer(dump), activation_share(dump, against, act));
    dump.exchange_activations();
    let explicit = format!("\"{ACT}\": \"{ALONE}\" in the metadata");
    match consumer {
        Some(consumer) if !right(recorded) && right(alone?) => {
            dump.exchange_activations();
            dump.recognised.push(Recognition {
                what: format!("{act} is silu(gate), not yet multiplied by up, as {consumer} shows"),
                explicit,
            });
            Ok(())
        }
        None if right(is_silu?) => {
            let what = format!(
                "{act} is silu(gate): it was recorded before it was multiplied by up, or the port never does so: nothing recorded shows which"
            );
            let down = Site { kind: Kind::Down, ..act };
            Err(Error::file(
                &dump.name,
                what,
                format!("record {down} too; or, if it was recorded before, state it: {explicit}"),
            ))
        }
        _ => Ok(()),
    }
}
