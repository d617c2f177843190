//! A red site behind several operations: no suspect of one of them speaks for it, so the whole span is
//! computed again by a port that has one mistake wherever it can be made.

use std::collections::{BTreeMap, BTreeSet};

use super::habit::{self, Habit, Tried};
use super::operation::Placed;
use super::replay::Replay;
use crate::Result;
use crate::oracle::Rows;
use crate::probe::Site;
use crate::suspects::{self, Diagnosis, Evidence, Theory};

/// Which habit gives what stands at the site of `e`, computed by the operations `since`, at the rows of `places`?
///
/// # Errors
/// A weight that cannot be read.
pub(super) fn diagnose(replay: &Replay<'_>, e: &Evidence<'_>, since: &BTreeSet<Site>) -> Result<Diagnosis> {
    let mut theories = Vec::new();
    for tried in habit::all(e) {
        if !since.iter().any(|site| tried.habit.changes(site.kind)) {
            continue;
        }
        let Some(rows) = under(replay, &tried.habit, since, e)? else { continue };
        theories.push(theory(e, tried, rows));
    }
    let mut found = suspects::decide(theories);
    if found.named.is_empty()
        && let Some((eps, rows)) = solved_eps(replay, since, e)?
    {
        found.named = suspects::decide(vec![theory(e, habit::eps(e, eps), rows)]).named;
    }
    Ok(found)
}

fn theory(e: &Evidence<'_>, tried: Tried, rows: Rows) -> Theory {
    let (fit, fix) = (suspects::fit(e, Some(&rows.into()), None), tried.fix());
    Theory::new(tried.mistake, tried.says, fix, fit)
}

/// The ε with which what stands here comes nearest to what was recorded, to two digits, and what it is then: by
/// secants, because a small ε moves every entry along a line.
fn solved_eps(replay: &Replay<'_>, since: &BTreeSet<Site>, e: &Evidence<'_>) -> Result<Option<(f64, Rows)>> {
    let (mut before, mut rows) = (e.config().rms_norm_eps, e.want.clone());
    let mut eps = before / 2.0;
    for _ in 0..3 {
        let Some(there) = under(replay, &Habit::Eps(eps), since, e)? else { return Ok(None) };
        let (mut along, mut length) = (0.0, 0.0);
        for ((&there, &before), &got) in there.values.iter().zip(&rows.values).zip(&e.got.values) {
            let step = there - before;
            along += (got - there) * step;
            length += step * step;
        }
        let next = eps + along / length * (eps - before);
        if !next.is_finite() || next <= 0.0 {
            break;
        }
        (before, eps, rows) = (eps, next, there);
    }
    let eps = format!("{eps:.1e}").parse().unwrap_or(eps);
    Ok(under(replay, &Habit::Eps(eps), since, e)?.map(|rows| (eps, rows)))
}

/// What the last of `since` gives in a port with this habit, at the rows that are judged. What the habit does
/// not reach stands as it is.
fn under(
    replay: &Replay<'_>,
    habit: &Habit,
    since: &BTreeSet<Site>,
    e: &Evidence<'_>,
) -> Result<Option<Rows>> {
    let machine = replay.machine.with_habit(habit.clone());
    let mut other: BTreeMap<Site, Placed> = BTreeMap::new();
    for &site in since {
        let sites = site.inputs(replay.layers);
        let reached = habit.changes(site.kind) || sites.iter().any(|input| other.contains_key(input));
        if !reached && site != e.red.site && replay.values.contains_key(&site) {
            continue;
        }
        let at =
            |input: &Site| other.get(input).or_else(|| replay.values.get(input).map(|value| &value.placed));
        let Some(inputs) = sites.iter().map(at).collect::<Option<Vec<_>>>() else { return Ok(None) };
        // Only the last is narrowed: its rows are not looked at by each other.
        let cut: Vec<Placed> = if site == e.red.site && inputs.len() == 1 {
            inputs.iter().map(|placed| placed.only(&e.tokens.places)).collect()
        } else {
            inputs.into_iter().cloned().collect()
        };
        let Some(placed) = machine.compute(site, &cut.iter().collect::<Vec<_>>())? else { return Ok(None) };
        other.insert(site, placed);
    }
    Ok(other.get(&e.red.site).map(|placed| placed.only(&e.tokens.places).rows))
}
