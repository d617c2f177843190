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
/// The metadata is not a number; only a tensor that was not recorded could decide; a tensor cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    if let Some(said) = dump.metadata.get(KEY) {
        let number = said.parse::<u32>();
        dump.cached =
            number.map_err(|_| dump.fault(format!("{KEY} in the metadata is not a number")))? as usize;
        return Ok(());
    }
    let Some(start) = start(dump).filter(|start| *start > 0) else { return Ok(()) };
    let explicit = format!("\"{KEY}\": \"{start}\" in the metadata");
    match alone(dump, against)? {
        // The positions are wrong, and are judged as such.
        Some(true) => {}
        Some(false) => {
            dump.cached = start;
            dump.recognised.push(Recognition {
                what: format!(
                    "{start} tokens are cached before this pass, as its positions show; attention is not checked, because their keys were not recorded"
                ),
                explicit,
            });
        }
        None => {
            let what = format!(
                "its positions start at {start}: tokens are cached before this pass, or the positions are wrong: nothing recorded shows which"
            );
            let hint = format!(
                "record model.layers.0.self_attn.context too; or, if they are cached, state it: {explicit}"
            );
            return Err(Error::file(&dump.name, what, hint));
        }
    }
    Ok(())
}

/// The position of the first token of every row, if the tokens after it count up from there.
fn start(dump: &Recording) -> Option<usize> {
    let rows = tokens(dump);
    let (_, start) = *rows.first()?.first()?;
    let counts =
        rows.iter().all(|row| row.iter().enumerate().all(|(n, (_, position))| *position == start + n));
    counts.then_some(start)
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
