//! Positions that do not start at 0: earlier tokens are in a cache, or the port counts wrongly. What decides is
//! whether attention follows from the keys of this pass alone.

use super::follows::share;
use crate::dump::Against;
use crate::dump::engine::Engine;
use crate::dump::positions::tokens;
use crate::dump::span::usable;
use crate::recording::{Recognition, Recording};
use crate::{Error, Result};

/// The key in the metadata.
const KEY: &str = "cached";

/// Recognises how many tokens are cached before the pass, or reads it from the metadata.
///
/// # Errors
/// The metadata is not a number for each row; only a tensor that was not recorded could decide; a tensor cannot
/// be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    if let Some(said) = dump.metadata.get(KEY) {
        let numbers: Option<Vec<u32>> = said.split(',').map(|number| number.trim().parse().ok()).collect();
        let numbers = numbers.unwrap_or_default();
        dump.cached = match &numbers[..] {
            &[all] => vec![all as usize; dump.input.batch()],
            rows if rows.len() == dump.input.batch() => rows.iter().map(|&row| row as usize).collect(),
            _ => {
                return Err(
                    dump.fault(format!("{KEY} in the metadata is not one number, or one for each row"))
                );
            }
        };
        return Ok(());
    }
    let Some(starts) = starts(dump).filter(|starts| starts.iter().any(|&start| start > 0)) else {
        return Ok(());
    };
    let listed: Vec<String> = starts.iter().map(ToString::to_string).collect();
    let listed =
        if starts.iter().all(|start| *start == starts[0]) { listed[0].clone() } else { listed.join(", ") };
    let explicit = format!("\"{KEY}\": \"{listed}\" in the metadata");
    match alone(dump, against)? {
        // The positions are wrong, and are judged as such.
        Some(true) => {}
        Some(false) => {
            dump.cached = starts;
            dump.recognised.push(Recognition {
                what: format!(
                    "{listed} tokens are cached before this pass, as its positions show; attention is not checked, because their keys were not recorded"
                ),
                explicit,
            });
        }
        None => {
            let what = format!(
                "its positions start at {listed}: tokens are cached before this pass, or the positions are wrong: nothing recorded shows which"
            );
            let hint = format!(
                "record model.layers.0.self_attn.context too; or, if they are cached, state it: {explicit}"
            );
            return Err(Error::file(&dump.name, what, hint));
        }
    }
    Ok(())
}

/// The position of the first token of each row, if the tokens after it count up from there in every row.
fn starts(dump: &Recording) -> Option<Vec<usize>> {
    let start = |row: &Vec<(usize, usize)>| match row.first() {
        None => Some(0),
        Some(&(_, start)) => {
            let counts = row.iter().enumerate().all(|(n, (_, position))| *position == start + n);
            counts.then_some(start)
        }
    };
    tokens(dump).iter().map(start).collect()
}

/// Did the pass attend to its own keys alone? `None` if nothing recorded shows it.
fn alone(dump: &Recording, against: &Against<'_>) -> Result<Option<bool>> {
    if let Some(site) = dump.sites().find(|site| site.kind.over_keys()) {
        // It has one entry per key.
        return Ok(Some(dump.fit(site, against)?.is_some()));
    }
    let Some(engine) = Engine::new(dump, against, dump.layers(against)?)? else { return Ok(None) };
    for site in dump.sites() {
        let Some(id) = engine.node(site) else { continue };
        let (cut, _) = usable(dump, against, &engine, id)?;
        if cut.compute.iter().any(|&node| engine.attends(node))
            && let Some(share) = share(dump, against, site)?
        {
            return Ok(Some(share <= 1.0));
        }
    }
    Ok(None)
}
