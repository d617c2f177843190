//! Maps the names of a recording's arrays to sites.

use std::collections::BTreeMap;

use super::ambiguous::ambiguous;
use super::form::Form;
use super::names::{self, Content, Meaning, PROJECTS};
use super::part::{Fused, Part};
use super::recognition::Recognition;
use super::stored::{Stored, UNRECORDED, float};
use super::vocabulary::{NameLookup, Vocabulary, cached_site};
use crate::arrays::Arrays;
use crate::files::short_name;
use crate::probe::{Kind, Site};
use crate::recording::form::AxisOrder;
use crate::{Error, Result};

/// The key in the metadata.
pub(super) const KEY: &str = "names";

/// The arrays beside the sites.
const BESIDE: [&str; 3] = ["input_ids", "position_ids", "attention_mask"];

/// What each array of a file is.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    /// Arrays that are sites because a map says so, or because they have a site's own name.
    own: Vec<(String, NameLookup)>,
    /// Arrays with other known names.
    pub(super) foreign: Vec<(String, Meaning)>,
    /// Arrays with unknown names.
    pub(super) unknown: Vec<String>,
    /// Do the metadata say whose names they are?
    pub(super) stated: bool,
}

/// Assigns every array of a file.
///
/// # Errors
/// The metadata name an unknown project; a name has several meanings.
pub(super) fn assign(
    arrays: &Arrays,
    vocabulary: &Vocabulary,
    metadata: &BTreeMap<String, String>,
) -> Result<Assignments> {
    let stated = metadata.get(KEY).map(|said| projects(arrays, said)).transpose()?;
    let mut all = Assignments { stated: stated.is_some(), ..Assignments::default() };
    let mut open: Vec<(String, Vec<Meaning>)> = Vec::new();
    for (name, _) in arrays.entries().filter(|(name, _)| !BESIDE.contains(name)) {
        let own = || own_name(name);
        let found = Some(vocabulary.lookup(name)).filter(|found| *found != NameLookup::Unknown);
        match found.unwrap_or_else(own) {
            NameLookup::Unknown => {
                let mut meanings = names::meanings(name);
                meanings.retain(|meaning| {
                    stated.as_ref().is_none_or(|projects| projects.contains(&meaning.project))
                });
                if meanings.is_empty() {
                    all.unknown.push(name.to_owned());
                } else {
                    open.push((name.to_owned(), meanings));
                }
            }
            known => all.own.push((name.to_owned(), known)),
        }
    }
    let count = |project: usize| {
        let uses = |meanings: &[Meaning], project| meanings.iter().any(|meaning| meaning.project == project);
        let own = || open.iter().filter(|(_, meanings)| uses(meanings, project));
        match PROJECTS[project].family_of.and_then(names::project) {
            Some(whole) if own().all(|(_, meanings)| uses(meanings, whole)) => 0,
            _ => own().count(),
        }
    };
    let counts: Vec<usize> = (0..PROJECTS.len()).map(count).collect();
    for (name, meanings) in &open {
        // The project that uses most of the file's names; the first, if several use as many.
        let most = meanings.iter().map(|meaning| counts[meaning.project]).max().unwrap_or(0);
        let mut likely = meanings.iter().filter(|meaning| counts[meaning.project] == most);
        let Some(&first) = likely.next() else { continue };
        if let Some(other) = likely.find(|other| other.content != first.content) {
            return Err(ambiguous(arrays, name, &[&first, other]));
        }
        if let Content::OneOf(_) = first.content {
            return Err(ambiguous(arrays, name, &[&first]));
        }
        all.foreign.push((name.clone(), first));
    }
    Ok(all)
}

/// The projects that the metadata name.
fn projects(arrays: &Arrays, said: &str) -> Result<Vec<usize>> {
    let known = |id: &str| {
        names::project(id.trim()).ok_or_else(|| {
            let all: Vec<&str> = PROJECTS.iter().map(|project| project.id).collect();
            let what =
                format!("{}: unknown {KEY} `{}` in the metadata", arrays.origin(), short_name(id.trim()));
            Error::input(what, format!("use one or several of these: {}", all.join(", ")))
        })
    };
    said.split(',').map(known).collect()
}

impl Assignments {
    /// The name of the array of token ids, positions or the mask.
    pub fn beside(&self, arrays: &Arrays, role: &str) -> Option<String> {
        if arrays.entry(role).is_some() {
            return Some(role.to_owned());
        }
        let is = |(_, meaning): &&(String, Meaning)| *meaning.content == Content::Tokens(known(role));
        self.foreign.iter().find(is).map(|(name, _)| name.clone())
    }

    /// The sites of the arrays, for a pass over `length` positions, and what was recognised.
    ///
    /// # Errors
    /// Two names in a map mean the same site; a site does not hold floats; there are no sites.
    pub fn sites(
        self,
        arrays: Arrays,
        vocabulary: &Vocabulary,
        length: usize,
    ) -> Result<(Stored, Vec<Recognition>)> {
        let recognised = self.recognised();
        let mut stored = Stored::new(arrays);
        for (name, found) in &self.own {
            match *found {
                NameLookup::Site(site) => add(&mut stored, vocabulary, site, name, Form::default())?,
                NameLookup::Fused(fused, layer) => fuse(&mut stored, vocabulary, fused, layer, name)?,
                NameLookup::Cached(site) => cache(&mut stored, site, name, AxisOrder::Canonical)?,
                NameLookup::LeftOut | NameLookup::Unknown => {}
            }
        }
        for (name, meaning) in &self.foreign {
            let Meaning { project, layer, content } = *meaning;
            let order = PROJECTS[project].order.clone();
            let form = |order: AxisOrder| Form { order, ..Form::default() };
            let mut tensor = |kind: Kind, order: AxisOrder| {
                let site = Site { layer: layer.filter(|_| kind.in_layer()), kind };
                add(&mut stored, vocabulary, site, name, form(order))
            };
            match *content {
                Content::Tensor(kind) => tensor(kind, order)?,
                Content::HeadsFirst(kind) => tensor(kind, AxisOrder::GgmlHeadsFirst)?,
                Content::Normalized(kind) => {
                    tensor(kind, order)?;
                    stored.normalized.push(Site { layer: layer.filter(|_| kind.in_layer()), kind });
                }
                Content::ByHeads(merged, split) => {
                    let heads = arrays_shape(&stored, name).is_some_and(|dims| has_heads(dims, length));
                    let mut tensor =
                        |kind| add(&mut stored, vocabulary, Site { layer, kind }, name, form(order.clone()));
                    tensor(if heads { split } else { merged })?;
                }
                Content::Fused(fused) => fuse(&mut stored, vocabulary, fused, layer.unwrap_or(0), name)?,
                Content::LayerInput => {
                    let site = Site { layer, kind: Kind::InputNorm };
                    let input = site.block_input().unwrap_or(site);
                    add(&mut stored, vocabulary, input, name, form(order))?;
                }
                Content::Activation => {
                    let entry = (name.clone(), form(order));
                    stored.activations.insert(layer.unwrap_or(0), entry);
                }
                Content::Cached(kind) => cache(&mut stored, Site { layer, kind }, name, order)?,
                Content::OneOf(_) | Content::Tokens(_) | Content::NotASite => {}
            }
        }
        if stored.sites.is_empty() && stored.activations.is_empty() {
            return Err(self.nothing(&stored.arrays));
        }
        Ok((stored, recognised))
    }
}

/// Adds the array `name` at `site`. If it is there already, whether both are equal is seen later.
fn add(stored: &mut Stored, vocabulary: &Vocabulary, site: Site, name: &str, form: Form) -> Result<()> {
    let arrays = &stored.arrays;
    if let Some(entry) = arrays.entry(name).filter(|entry| float(entry).is_none()) {
        return Err(arrays.fault(format!("{name} has type {:?}, but must hold floats", entry.dtype)));
    }
    let form = match vocabulary.form(site) {
        None => form,
        Some(stated) if stated.part == Part::Whole => {
            Form { part: form.part, stated: true, ..stated.clone() }
        }
        Some(stated) => Form { stated: true, ..stated.clone() },
    };
    let array = (name.to_owned(), form);
    match stored.sites.get(&site) {
        None => _ = stored.sites.insert(site, array),
        // A tensor of its own is read rather than a part of a larger one.
        Some((_, first)) if first.part != Part::Whole && array.1.part == Part::Whole => {
            let first = stored.sites.insert(site, array);
            stored.twice.extend(first.map(|first| (site, first)));
        }
        Some(_) => stored.twice.push((site, array)),
    }
    Ok(())
}

/// Adds the array `name` of cached keys or values.
fn cache(stored: &mut Stored, site: Site, name: &str, order: AxisOrder) -> Result<()> {
    let arrays = &stored.arrays;
    if let Some(entry) = arrays.entry(name).filter(|entry| float(entry).is_none()) {
        return Err(arrays.fault(format!("{name} has type {:?}, but must hold floats", entry.dtype)));
    }
    let array = (name.to_owned(), Form { order, ..Form::default() });
    match stored.caches.insert(site, array) {
        None => Ok(()),
        Some((other, _)) => {
            Err(stored.arrays.fault(format!("`{other}` and `{name}` are both the cached rows of {site}")))
        }
    }
}

/// What a name of docs/dump-format.md means.
fn own_name(name: &str) -> NameLookup {
    match name.parse::<Site>() {
        Ok(site) => NameLookup::Site(site),
        Err(_) if name == UNRECORDED => NameLookup::LeftOut,
        Err(_) => cached_site(name).map_or(NameLookup::Unknown, NameLookup::Cached),
    }
}

/// Adds the array `name` at every site whose tensor is a part of it.
fn fuse(stored: &mut Stored, vocabulary: &Vocabulary, fused: Fused, layer: u16, name: &str) -> Result<()> {
    fused.kinds().iter().try_for_each(|&kind| {
        let form = Form { part: Part::Fused(fused), ..Form::default() };
        add(stored, vocabulary, Site { layer: Some(layer), kind }, name, form)
    })
}

fn arrays_shape<'a>(stored: &'a Stored, name: &str) -> Option<&'a [usize]> {
    stored.arrays.entry(name).map(|entry| &entry.shape[..])
}

/// Is there a heads axis besides positions and width? ggml's four dimensions are padded with ones at either
/// end.
fn has_heads(dims: &[usize], s: usize) -> bool {
    let real: Vec<usize> = dims.iter().copied().filter(|&n| n != 1).collect();
    real.len() > 2 || (real.len() == 2 && !real.contains(&s))
}

/// The role as the tables have it.
fn known(role: &str) -> &'static str {
    BESIDE.into_iter().find(|known| *known == role).unwrap_or("")
}
