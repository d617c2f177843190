//! Arrays whose shape several orders of axes have: as many heads as positions, for example. What decides is the next
//! recorded tensor that was computed from them.

use std::collections::BTreeMap;

use super::follows::{consumer, share};
use super::shape::{Undecided, name_of, recognise};
use crate::dump::Against;
use crate::probe::{Kind, Kinds, Site};
use crate::recording::{Form, Part, Reading, Recording, Repetition};
use crate::{Error, Result};

/// The largest number of combinations of readings that is tried.
const MOST: usize = 64;

/// How a combination of readings, one of each kind, explains the recording.
struct Tried {
    /// The index of the reading of each kind.
    chosen: Vec<usize>,
    /// Do the arrays themselves follow from what was recorded before them? `false` also if that is not known.
    follow: bool,
    /// Do the tensors that were computed from them follow? `None` if none was recorded.
    consumed: Option<bool>,
}

/// Decides between several orders of axes.
///
/// # Errors
/// No recorded tensor decides; a tensor cannot be read.
pub(super) fn understand(
    dump: &mut Recording,
    against: &Against<'_>,
    mut undecided: Vec<Undecided>,
) -> Result<()> {
    let by_shape = undecided.len();
    undecided.extend(wrong(dump, against, &undecided)?);
    if undecided.is_empty() {
        return Ok(());
    }
    let tried = tried(dump, against, &undecided)?;
    let consumed: Vec<&Tried> = tried.iter().filter(|tried| tried.consumed == Some(true)).collect();
    let both: Vec<&Tried> = consumed.iter().copied().filter(|tried| tried.follow).collect();
    let right = if both.is_empty() { &consumed } else { &both };
    match right[..] {
        [only] => {
            apply(dump, &undecided, &only.chosen);
            // The first reading of an array that fits is the one as it was recorded.
            let read = undecided.iter().zip(&only.chosen).enumerate();
            let noted = read.filter(|(n, (_, chosen))| **chosen > 0 || *n < by_shape);
            let mut layouts: BTreeMap<&str, (&Reading, Vec<Site>)> = BTreeMap::new();
            for (_, (of, &chosen)) in noted {
                let reading = &of.readings[chosen];
                let entry = layouts.entry(&reading.what);
                entry.or_insert_with(|| (reading, vec![])).1.extend(&of.sites);
            }
            for (reading, sites) in layouts.into_values() {
                recognise(dump, reading, &sites, "the tensors computed from it show");
            }
            Ok(())
        }
        _ if by_shape == 0 => {
            // As recorded they are wrong. If nothing was computed from them, another order may explain that.
            match tried.iter().find(|tried| tried.follow && tried.consumed.is_none()) {
                Some(other) => Err(refused(dump, against, &undecided, &other.chosen)?),
                None => Ok(()),
            }
        }
        _ => match tried.iter().filter(|tried| tried.follow).collect::<Vec<_>>()[..] {
            // What was computed from them is wrong for another reason.
            [only] if only.consumed.is_some() => {
                apply(dump, &undecided, &only.chosen);
                Ok(())
            }
            _ => {
                let chosen = tried.first().map_or(vec![], |first| first.chosen.clone());
                Err(refused(dump, against, &undecided, &chosen)?)
            }
        },
    }
}

/// Refuses keys or values whose heads are repeated as a whole, unless what was computed from them is wrong. Then the
/// port attends to the wrong heads, and is judged.
///
/// # Errors
/// There are such keys or values; a tensor cannot be read.
pub(super) fn refuse_tiled(dump: &Recording, against: &Against<'_>) -> Result<()> {
    let tiled = |site: &Site| {
        dump.array(*site).is_some_and(|(_, _, form)| form.part == Part::Repeated(Repetition::Tiled))
    };
    let Some(site) = dump.sites().find(tiled) else { return Ok(()) };
    let consumer = match site.kind {
        Kind::VProj => Site { kind: Kind::Context, ..site },
        _ => Site { kind: Kind::Scores, ..site },
    };
    if share(dump, against, consumer)?.is_some_and(|share| share > 1.0) {
        return Ok(());
    }
    let name = dump.array(site).map_or("", |(name, ..)| name);
    let what = format!(
        "the heads of `{name}` are repeated as a whole, but {consumer} needs each head repeated on its own for its query heads"
    );
    let hint = format!(
        "record {site} before its heads are repeated, or leave it out: \"{name}\" = \"\" under [names] in a --map file"
    );
    Err(Error::file(&dump.name, what, hint))
}

/// Arrays that fit as they are, but are wrong, and that another order of axes fits too.
fn wrong(dump: &Recording, against: &Against<'_>, known: &[Undecided]) -> Result<Vec<Undecided>> {
    let Some(config) = against.config else { return Ok(vec![]) };
    let mut all = Vec::new();
    for &kind in Kind::ALL {
        let sites: Vec<Site> = dump.sites().filter(|site| site.kind == kind).collect();
        let Some(&first) = sites.first() else { continue };
        let stated = dump.array(first).is_none_or(|(_, _, form)| form.stated);
        if stated || known.iter().any(|of| of.sites.contains(&first)) {
            continue;
        }
        if share(dump, against, first)?.is_none_or(|share| share <= 1.0) {
            continue;
        }
        let mut readings = dump.readings(first, config)?;
        if readings.len() == 1 {
            readings.extend(dump.unlikely_readings(first, config)?);
        }
        if readings.len() > 1 {
            all.push(Undecided { sites, readings });
        }
    }
    Ok(all)
}

/// Tries every combination of readings in the first layer that has such an array.
fn tried(dump: &mut Recording, against: &Against<'_>, undecided: &[Undecided]) -> Result<Vec<Tried>> {
    let firsts: Vec<Site> = undecided.iter().filter_map(|of| of.sites.first().copied()).collect();
    let before = forms(dump, undecided);
    let mut all = Vec::new();
    for chosen in combinations(undecided) {
        apply(dump, undecided, &chosen);
        let tried = shares(dump, against, &firsts);
        restore(dump, &before);
        let (follow, consumed) = tried?;
        all.push(Tried { chosen, follow, consumed });
    }
    Ok(all)
}

/// Combinations of readings: if there are few, all of them, otherwise those in which every kind has the same number. A
/// recorder treats all kinds alike.
fn combinations(undecided: &[Undecided]) -> Vec<Vec<usize>> {
    let counts: Vec<usize> = undecided.iter().map(|of| of.readings.len()).collect();
    if counts.iter().try_fold(1usize, |all, &n| all.checked_mul(n)).is_none_or(|all| all > MOST) {
        let most = counts.iter().copied().max().unwrap_or(0);
        return (0..most).map(|n| counts.iter().map(|&count| n.min(count - 1)).collect()).collect();
    }
    counts.iter().fold(vec![vec![]], |shorter: Vec<Vec<usize>>, &count| {
        shorter.iter().flat_map(|chosen| (0..count).map(|n| [&chosen[..], &[n]].concat())).collect()
    })
}

/// Do these arrays follow, and what was computed from them?
fn shares(dump: &Recording, against: &Against<'_>, sites: &[Site]) -> Result<(bool, Option<bool>)> {
    let (mut follow, mut consumed) = (true, None);
    for &site in sites {
        follow &= share(dump, against, site)?.is_some_and(|share| share <= 1.0);
        if let Some(consumer) = consumer(dump, against, site, |_| true)?
            && let Some(share) = share(dump, against, consumer)?
        {
            consumed = Some(consumed.unwrap_or(true) && share <= 1.0);
        }
    }
    Ok((follow, consumed))
}

fn forms(dump: &Recording, undecided: &[Undecided]) -> Vec<(Site, Form)> {
    let sites = undecided.iter().flat_map(|of| &of.sites);
    sites.filter_map(|&site| Some((site, dump.array(site)?.2.clone()))).collect()
}

fn restore(dump: &mut Recording, forms: &[(Site, Form)]) {
    forms.iter().for_each(|(site, form)| dump.set_form(*site, form.clone()));
}

fn apply(dump: &mut Recording, undecided: &[Undecided], chosen: &[usize]) {
    for (of, &chosen) in undecided.iter().zip(chosen) {
        of.sites.iter().for_each(|&site| dump.set_form(site, of.readings[chosen].form.clone()));
    }
}

/// The error for arrays that several orders of axes explain.
///
/// # Errors
/// The config contradicts itself.
fn refused(
    dump: &Recording,
    against: &Against<'_>,
    undecided: &[Undecided],
    chosen: &[usize],
) -> Result<Error> {
    let Some(of) = undecided.first() else { return Ok(dump.fault("its axes are unknown")) };
    let site = of.sites[0];
    let words: Vec<String> =
        of.readings.iter().map(|reading| format!("`{}`", reading.words.join(" "))).collect();
    let what = format!("the axes of {site} may be {}: nothing recorded shows which", words.join(" or "));
    let name = name_of(site.kind);
    let reading = &of.readings[chosen.first().copied().unwrap_or(0)];
    let hint = format!(
        "record {} too; or state it in a --map file: {} under [layout]",
        consumer_of(site, dump.kinds(against)?),
        reading.stated(name)
    );
    Ok(Error::file(&dump.name, what, hint))
}

/// The site that is computed from this one.
fn consumer_of(site: Site, kinds: Kinds) -> Site {
    match (site.kind, kinds.consumer(site.kind)) {
        (Kind::Embed, _) => Site::layer(0, Kind::InputNorm),
        (_, Some(kind)) if kind.in_layer() => Site { kind, ..site },
        _ => Site::model(Kind::FinalNorm),
    }
}
