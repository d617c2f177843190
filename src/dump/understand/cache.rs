//! Tokens in a cache before the pass. Their keys and values are in the recording, or in those of earlier passes, or
//! unknown. Positions that do not start at 0 show that there are some, or that the port counts wrongly: what decides
//! is whether attention follows from the keys of this pass alone.

use super::follows::share;
use crate::dump::Against;
use crate::dump::earlier::Earlier;
use crate::dump::engine::Engine;
use crate::dump::positions::tokens;
use crate::dump::span::usable;
use crate::recording::{Cache, Recognition, Recording};
use crate::{Error, Result};

/// The key in the metadata.
pub(super) const KEY: &str = "cached";

/// Takes over the cache that earlier passes left, if the pass continues their text.
///
/// # Errors
/// The metadata is not a number for each row.
pub(super) fn take_over(dump: &mut Recording, earlier: &Earlier) -> Result<()> {
    if dump.cache().slots() == 0 && earlier.slots() > 0 && continues(dump, earlier)? {
        dump.set_cache(earlier.cache.clone());
    }
    Ok(())
}

/// Does the pass continue the text of the earlier ones, as far as shapes, the metadata and positions show?
fn continues(dump: &Recording, earlier: &Earlier) -> Result<bool> {
    let (past, own) = (earlier.slots(), dump.length());
    if earlier.ids.len() != dump.input.batch() {
        return Ok(false);
    }
    if let Some(stated) = stated(dump)? {
        return Ok(stated == earlier.cache.tokens());
    }
    if let Some(row) = dump.real_before.first() {
        return Ok(row.len() == past);
    }
    for site in dump.sites().filter(|site| site.kind.over_keys()) {
        match dump.array(site).and_then(|(_, dims, _)| dims.last().copied()) {
            Some(keys) if keys == past + own => return Ok(true),
            Some(keys) if keys == own => return Ok(false),
            _ => {}
        }
    }
    let again = earlier.ids.iter().zip(&dump.input.ids).all(|(before, ids)| ids.starts_with(before));
    Ok(!again && starts(dump).is_some_and(|starts| starts == earlier.cache.tokens()))
}

/// The numbers of cached tokens that the metadata state.
///
/// # Errors
/// They are not a number for each row.
pub(super) fn stated(dump: &Recording) -> Result<Option<Vec<usize>>> {
    let Some(said) = dump.metadata.get(KEY) else { return Ok(None) };
    let numbers: Option<Vec<u32>> = said.split(',').map(|number| number.trim().parse().ok()).collect();
    let numbers = numbers.unwrap_or_default();
    match &numbers[..] {
        &[all] => Ok(Some(vec![all as usize; dump.input.batch()])),
        rows if rows.len() == dump.input.batch() => Ok(Some(rows.iter().map(|&row| row as usize).collect())),
        _ => Err(dump.fault(format!("{KEY} in the metadata is not one number, or one for each row"))),
    }
}

/// Recognises how many tokens are cached before the pass, or reads it from the metadata.
///
/// # Errors
/// The metadata is not a number for each row; only a tensor that was not recorded could decide; a tensor cannot
/// be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>, earlier: &Earlier) -> Result<()> {
    if dump.cache().slots() > 0 {
        return Ok(());
    }
    if let Some(stated) = stated(dump)? {
        dump.cached = stated;
        return Ok(());
    }
    let starts = starts(dump);
    let start = starts.as_ref().is_some_and(|starts| starts.iter().any(|&start| start > 0));
    if !start {
        // It begins like a new text. A port that keeps its cache attends to the earlier one, too.
        if earlier.slots() > 0 && alone(dump, against)? == Some(false) {
            take_over_if_it_follows(dump, against, earlier)?;
        }
        return Ok(());
    }
    let Some(starts) = starts else { return Ok(()) };
    let listed: Vec<String> = starts.iter().map(ToString::to_string).collect();
    let listed =
        if starts.iter().all(|start| *start == starts[0]) { listed[0].clone() } else { listed.join(", ") };
    let explicit = format!("\"{KEY}\": \"{listed}\" in the metadata");
    match alone(dump, against)? {
        // The positions are wrong, and are judged as such.
        Some(true) => {}
        Some(false) if take_over_if_it_follows(dump, against, earlier)? => {}
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
pub(super) fn starts(dump: &Recording) -> Option<Vec<usize>> {
    let start = |row: &Vec<(usize, usize)>| match row.first() {
        None => Some(0),
        Some(&(_, start)) => {
            let counts = row.iter().enumerate().all(|(n, (_, position))| *position == start + n);
            counts.then_some(start)
        }
    };
    tokens(dump).iter().map(start).collect()
}

/// Takes over the cache of the earlier passes if attention follows from it. Returns whether it does.
fn take_over_if_it_follows(dump: &mut Recording, against: &Against<'_>, earlier: &Earlier) -> Result<bool> {
    if earlier.slots() == 0 || earlier.ids.len() != dump.input.batch() {
        return Ok(false);
    }
    let cached = dump.cached.clone();
    dump.set_cache(earlier.cache.clone());
    if attention_follows(dump, against)? == Some(true) {
        return Ok(true);
    }
    dump.set_cache(Cache::default());
    dump.cached = cached;
    Ok(false)
}

/// Did the pass attend to its own keys alone? `None` if nothing recorded shows it.
fn alone(dump: &Recording, against: &Against<'_>) -> Result<Option<bool>> {
    if let Some(site) = dump.sites().find(|site| site.kind.over_keys()) {
        // It has one entry per key.
        return Ok(Some(dump.fit(site, against)?.is_some()));
    }
    attention_follows(dump, against)
}

/// Does the first tensor that attention is needed for follow from the known keys? `None` if there is none.
fn attention_follows(dump: &Recording, against: &Against<'_>) -> Result<Option<bool>> {
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
