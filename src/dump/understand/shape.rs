//! Arrays whose shape is not the one that docs/dump-format.md describes. If only one order of axes has this shape,
//! it is the order; if several have, a tensor that was computed from the array decides later. A shape that no order
//! explains says nothing about the port, so it is refused, and not counted as a failed checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use crate::dump::Against;
use crate::probe::{Kind, Site};
use crate::recording::{Lookup, Misfit, Part, Reading, Recognition, Recording, Repetition};
use crate::weights::Config;
use crate::{Error, Result};

/// Arrays of one kind that can be read in several ways.
#[derive(Clone, Debug)]
pub(super) struct Undecided {
    pub sites: Vec<Site>,
    pub readings: Vec<Reading>,
}

/// Recognises the axes of arrays by their shape. Returns those with several possible orders of axes.
///
/// # Errors
/// Repeated heads differ from their copies; two arrays of a site differ; a tensor cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<Vec<Undecided>> {
    let mut undecided: BTreeMap<(Kind, Vec<usize>), Undecided> = BTreeMap::new();
    if let Some(config) = against.config {
        let mut recognised: BTreeMap<String, (Reading, Vec<Site>)> = BTreeMap::new();
        let odd: Vec<Site> = dump.sites().filter(|&site| !dump.is_as_described(site, config)).collect();
        for site in odd {
            let Lookup::Misfit(_) = dump.lookup(site, Some(config))? else { continue };
            let readings = dump.readings(site, config)?;
            let Some(first) = readings.first() else { continue };
            dump.set_form(site, first.form.clone());
            if let [only] = &readings[..] {
                let entry = recognised.entry(only.what.clone());
                entry.or_insert_with(|| (only.clone(), vec![])).1.push(site);
            } else {
                let dims = dump.array(site).map_or(vec![], |(_, dims, _)| dims.to_vec());
                let entry = undecided.entry((site.kind, dims));
                entry.or_insert_with(|| Undecided { sites: vec![], readings }).sites.push(site);
            }
        }
        for (reading, sites) in recognised.into_values() {
            recognise(dump, &reading, &sites, "its shape shows");
        }
        repeated(dump, config)?;
    }
    if let Some(found) = dump.contradiction(against.config)? {
        let [first, second] = &found.arrays;
        let what = format!("`{first}` and `{second}` both name {}, and their values differ", found.site);
        let hint = format!(
            "leave the wrong one out: pass `--map` with a file that has \"{second}\" = \"\" under [names]"
        );
        return Err(Error::file(&dump.name, what, hint));
    }
    Ok(undecided.into_values().collect())
}

/// Adds that these arrays have the same layout. `shown` says what shows it.
pub(super) fn recognise(dump: &mut Recording, reading: &Reading, sites: &[Site], shown: &str) {
    let [first, ..] = sites else { return };
    let of_kind = |kind: Kind| dump.sites().filter(|site| site.kind == kind).collect::<Vec<Site>>();
    let kinds: BTreeSet<Kind> = sites.iter().map(|site| site.kind).collect();
    let lines: Vec<String> = kinds
        .into_iter()
        .flat_map(|kind| {
            let own: Vec<Site> = sites.iter().copied().filter(|site| site.kind == kind).collect();
            if own == of_kind(kind) {
                vec![reading.stated(name_of(kind))]
            } else {
                own.iter().map(|site| reading.stated(&site.to_string())).collect()
            }
        })
        .collect();
    let more = if sites.len() > 1 { format!(" (and {} more)", sites.len() - 1) } else { String::new() };
    dump.recognised.push(Recognition {
        what: format!("{first}{more} {}, as {shown}", reading.what),
        explicit: format!("{} under [layout] in a --map file", lines.join(", ")),
    });
}

/// The name of a kind in a map.
pub(super) const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "block",
        kind => kind.name(),
    }
}

/// Checks that the copies of repeated heads are equal, and finds how they are repeated.
fn repeated(dump: &mut Recording, config: &Config) -> Result<()> {
    for site in dump.sites().collect::<Vec<_>>() {
        let Some((name, _, form)) = dump.array(site) else { continue };
        let (name, form) = (name.to_owned(), form.clone());
        if !matches!(form.part, Part::Repeated(_)) {
            continue;
        }
        match dump.repetition(site, config)? {
            Some(Repetition::Adjacent) => {}
            Some(how) => {
                dump.set_form(site, crate::recording::Form { part: Part::Repeated(how), ..form });
            }
            None => {
                let what = format!(
                    "`{name}` has {} heads instead of {}, but they are not copies of each other",
                    config.num_attention_heads, config.num_key_value_heads
                );
                let hint = format!(
                    "record {site} before its heads are repeated, or leave it out: \"{name}\" = \"\" under [names] in a --map file"
                );
                return Err(Error::file(&dump.name, what, hint));
            }
        }
    }
    Ok(())
}

/// Refuses an array with a shape that nothing explains.
///
/// # Errors
/// There is one; a tensor cannot be read.
pub(super) fn refuse_misfits(dump: &Recording, against: &Against<'_>) -> Result<()> {
    let as_described = |site: &Site| against.config.is_some_and(|config| dump.is_as_described(*site, config));
    for site in dump.sites().filter(|site| !as_described(site)) {
        let Lookup::Misfit(why) = dump.lookup(site, against.config)? else { continue };
        if dump.reads_a_cache() && site.kind.over_keys() {
            continue; // it has an entry for each cached key too
        }
        let Some((name, dims, form)) = dump.array(site) else { continue };
        dump.layers(against)?; // a recording of another model has other shapes too
        let why = match why {
            Misfit::Recognised(why) => why,
            Misfit::Shape { got, want } => format!("its shape is {got:?}, but {site} has {want:?}"),
        };
        let what = if form.stated {
            format!("`{name}` does not have the layout that the map states: {why}")
        } else {
            format!("`{name}` cannot be read as {site}: {why}")
        };
        let of = name_of(site.kind);
        let hint = format!(
            "if its {} axes have another order, state it in a --map file: \"{of}\" = \"{}\" under [layout]; otherwise record it again, or leave it out: \"{name}\" = \"\" under [names]",
            dims.len(),
            example(site.kind)
        );
        return Err(Error::file(&dump.name, what, hint));
    }
    Ok(())
}

/// Letters to begin with.
const fn example(kind: Kind) -> &'static str {
    if kind.over_keys() {
        "b h s t"
    } else if kind.by_head() {
        "b s h d"
    } else {
        "s b w"
    }
}
