//! Outputs of blocks that are those of another block, as in transformers' `hidden_states`: entry N is the
//! input of layer N, and the last entry comes after the final norm. A port that skips a layer, or norms twice,
//! may record the same tensors. What decides is what follows from the whole stack when it is moved.

use std::collections::BTreeSet;
use std::fmt;

use super::follows::{Supports, consumer, equal, share};
use crate::dump::Against;
use crate::probe::{Kind, Site};
use crate::recording::{Recognition, Recording, Sites};
use crate::{Error, Result};

/// The key in the metadata.
const KEY: &str = "hidden_states";

/// The number of moved tensors that are computed.
const PROVED: usize = 6;

/// One way to read the recorded outputs of blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    /// `model.layers.N` is the input of layer N.
    inputs: bool,
    /// The last one comes after the final norm.
    normed: bool,
}

/// Every reading but the one as they are.
const OTHERS: [Reading; 3] = [
    Reading { inputs: true, normed: true },
    Reading { inputs: true, normed: false },
    Reading { inputs: false, normed: true },
];

/// What the recorded tensors show about a reading.
enum Proof {
    /// It is right, as the tensor at this site shows.
    Right(Site),
    /// It explains all moved tensors, but no tensor was recorded that was computed from them.
    Unproven,
    /// It is wrong.
    Wrong,
}

/// The share of its budget that a tensor uses after the stack was moved.
struct Moved {
    /// Its site before.
    from: Site,
    /// Its site now.
    at: Site,
    moved: Option<f64>,
}

/// Recognises outputs of blocks that belong to other sites, or reads from the metadata how they were recorded,
/// and moves them.
///
/// # Errors
/// The metadata has an unknown value; only a tensor that was not recorded could decide; a tensor cannot be
/// read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let Some(layers) = against.config.map(|config| config.num_hidden_layers) else { return Ok(()) };
    if let Some(said) = dump.metadata.get(KEY) {
        let read = Reading::parse(said).ok_or_else(|| {
            dump.fault(format!("unknown {KEY} `{said}` in the metadata: use inputs, normed or both"))
        })?;
        read.apply(dump, layers);
        return Ok(());
    }
    let blocks: Vec<Site> = dump.sites().filter(|site| site.kind == Kind::Block).collect();
    let (Some(&first), Some(&last)) = (blocks.first(), blocks.last()) else { return Ok(()) };
    let surplus = last == Site::layer(layers, Kind::Block);
    let fails = |site| Ok::<_, Error>(share(dump, against, site)?.is_some_and(|share| share > 1.0));
    if !surplus && !fails(first)? && !fails(last)? {
        return Ok(());
    }
    let mut unproven = None;
    for reading in OTHERS.into_iter().filter(|reading| reading.fits(last, layers)) {
        match reading.proof(dump, against, layers, surplus)? {
            Proof::Right(site) => {
                reading.apply(dump, layers);
                dump.recognised.push(Recognition {
                    what: format!("{}, as {site} shows", reading.sentence(layers)),
                    explicit: format!("\"{KEY}\": \"{reading}\" in the metadata"),
                });
                return Ok(());
            }
            Proof::Unproven => _ = unproven.get_or_insert(reading),
            Proof::Wrong => {}
        }
    }
    unproven.map_or(Ok(()), |reading| Err(reading.undecided(dump, layers)))
}

impl Reading {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let known = words.iter().all(|word| ["inputs", "normed"].contains(word));
        known.then(|| Self { inputs: words.contains(&"inputs"), normed: words.contains(&"normed") })
    }

    /// Can the recording be read so, if `last` is its last block?
    fn fits(self, last: Site, layers: usize) -> bool {
        let surplus = last == Site::layer(layers, Kind::Block);
        let whole = surplus || last == Site::layer(layers.saturating_sub(1), Kind::Block);
        match self {
            Self { inputs: true, normed: true } => surplus,
            Self { inputs: true, normed: false } => true,
            Self { inputs: false, .. } => whole && !surplus,
        }
    }

    /// The site of the tensor that was recorded as the output of layer `n`.
    fn place(self, n: usize, layers: usize) -> Site {
        match n.checked_sub(usize::from(self.inputs)) {
            None => Site::model(Kind::Embed),
            Some(n) if self.normed && n + 1 == layers => Site::model(Kind::FinalNorm),
            Some(n) => Site::layer(n, Kind::Block),
        }
    }

    /// Moves the tensors. One whose site was recorded under its own name too is left out.
    fn apply(self, dump: &mut Recording, layers: usize) -> Sites {
        let outside: BTreeSet<Site> = dump.sites().filter(|site| site.layer.is_none()).collect();
        dump.reassign(|site| match site {
            Site { layer: Some(n), kind: Kind::Block } => {
                Some(self.place(n.into(), layers)).filter(|place| !outside.contains(place))
            }
            other => Some(other),
        })
    }

    /// Computes moved tensors, and what was computed from them, as recorded and moved. `surplus`: there are
    /// more outputs than layers, so they cannot be right as they are.
    fn proof(
        self,
        dump: &mut Recording,
        against: &Against<'_>,
        layers: usize,
        surplus: bool,
    ) -> Result<Proof> {
        let moved = self.moved(dump, layers);
        let own: BTreeSet<Site> = dump.sites().filter(|site| site.kind != Kind::Block).collect();
        for &(from, to) in moved.iter().filter(|(_, to)| own.contains(to)) {
            if !equal(dump, against, from, to)? {
                return Ok(Proof::Wrong);
            }
        }
        let before = self.apply(dump, layers);
        let read = self.shares(dump, against, &moved, &own);
        dump.restore(before);
        let (mut explained, mut proved) = (None, None);
        for Moved { from, at, moved } in read? {
            let as_it_is = if surplus { None } else { share(dump, against, from)? };
            match Supports::of(as_it_is, moved) {
                Supports::Recorded => return Ok(Proof::Wrong),
                Supports::Neither => {}
                Supports::Other => {
                    if own.contains(&at) {
                        proved.get_or_insert(at);
                    }
                    let is_moved = from != at || at.kind == Kind::FinalNorm;
                    if is_moved && moved.is_some_and(|share| share <= 1.0) {
                        explained.get_or_insert(at);
                    }
                }
            }
        }
        Ok(match (explained, proved) {
            (None, _) => Proof::Wrong,
            (Some(_), Some(site)) => Proof::Right(site),
            (Some(site), None) if surplus => Proof::Right(site),
            (Some(_), None) => Proof::Unproven,
        })
    }

    /// Some of the tensors that move: their recorded and their new sites, in forward order. The first and the
    /// last are among them.
    fn moved(self, dump: &Recording, layers: usize) -> Vec<(Site, Site)> {
        let blocks = dump.sites().filter(|site| site.kind == Kind::Block);
        let all = blocks.filter_map(|site| Some((site, self.place(site.layer?.into(), layers))));
        let moved: Vec<(Site, Site)> = all.filter(|(from, to)| from != to).collect();
        let step = moved.len().div_ceil(PROVED).max(1);
        let last = moved.len().saturating_sub(1);
        (0..moved.len()).filter(|n| n % step == 0 || *n == last).map(|n| moved[n]).collect()
    }

    /// The shares of moved tensors, then those of the tensors computed from them.
    fn shares(
        self,
        dump: &Recording,
        against: &Against<'_>,
        moved: &[(Site, Site)],
        own: &BTreeSet<Site>,
    ) -> Result<Vec<Moved>> {
        let mut all = Vec::new();
        for &(from, at) in moved.iter().filter(|(_, to)| !own.contains(to)) {
            all.push(Moved { from, at, moved: share(dump, against, at)? });
        }
        for &(_, to) in moved {
            let there = Some(to).filter(|to| own.contains(to));
            let consumer = || consumer(dump, against, to, |site| own.contains(site));
            if let Some(at) = there.map_or_else(consumer, |to| Ok(Some(to)))? {
                all.push(Moved { from: at, at, moved: share(dump, against, at)? });
            }
        }
        Ok(all)
    }

    fn sentence(self, layers: usize) -> String {
        let last = layers - usize::from(!self.inputs);
        match self {
            Self { inputs: true, normed: true } => format!(
                "model.layers.N is the input of layer N, and model.layers.{last} is the output of the final norm"
            ),
            Self { inputs: true, .. } => "model.layers.N is the input of layer N, not its output".to_owned(),
            Self { .. } => format!("model.layers.{last} is the output of the final norm, not of its layer"),
        }
    }

    /// The error for outputs that two readings explain.
    fn undecided(self, dump: &Recording, layers: usize) -> Error {
        let what = format!(
            "{}, or the port computes it so by mistake: nothing recorded shows which",
            self.sentence(layers)
        );
        let consumer = if self.normed { Kind::Logits } else { Kind::FinalNorm };
        let hint = format!(
            "record {} too; or, if it was only recorded so, state it: \"{KEY}\": \"{self}\" in the metadata",
            Site::model(consumer)
        );
        Error::file(&dump.name, what, hint)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.inputs, self.normed) {
            (true, true) => "inputs, normed",
            (false, true) => "normed",
            _ => "inputs",
        })
    }
}
