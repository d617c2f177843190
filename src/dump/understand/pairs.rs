//! The order of q and k within their heads: in Meta's code and in GGUF files, elements i and i + head_dim/2 are next
//! to each other. Scores are the same in both orders. A port that reads its weights in one order and rotates in the
//! other computes wrong scores, so what decides is that q and k, projected and rotated, are all right in that order,
//! and that a tensor was recorded that was computed from them.

use super::follows::{share, some_of};
use crate::dump::Against;
use crate::probe::{Kind, Site};
use crate::recording::{Recognition, Recording};
use crate::{Error, Result};

/// The key in the metadata.
const KEY: &str = "layout";

/// An order of the elements of a head.
struct Order {
    /// Its name in the metadata.
    word: &'static str,
    /// What it means.
    means: &'static str,
    /// Where it is usual.
    usual: &'static str,
}

const INTERLEAVED: Order = Order {
    word: "interleaved",
    means: "elements i and i + head_dim/2 are next to each other in q and k",
    usual: "as in GGUF files",
};

const HALF_SPLIT: Order = Order {
    word: "half-split",
    means: "elements of q and k are in the order of Hugging Face's weights",
    usual: "not in that of this model's GGUF files",
};

/// The kinds of site that are computed from both q and k.
const CONSUMERS: [Kind; 4] = [Kind::Scores, Kind::Probs, Kind::Context, Kind::OProj];

/// Recognises the order of q and k, unless the metadata or the names say it.
///
/// # Errors
/// Only a tensor that was not recorded could decide; a tensor cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let kinds = Kind::ALL.iter().filter(|kind| kind.has_rotated_columns());
    let sites: Vec<Site> = kinds.filter_map(|&kind| some_of(dump, kind).first().copied()).collect();
    let open = |site: &Site| dump.array(*site).is_some_and(|(_, _, form)| form.interleaved.is_none());
    let Some(config) = against.config else { return Ok(()) };
    if dump.metadata.contains_key(KEY) || sites.is_empty() || !sites.iter().all(open) {
        return Ok(());
    }
    let recorded = right(dump, against, &sites)?;
    if recorded.iter().all(|right| *right) {
        return Ok(());
    }
    let form = dump.array(sites[0]).map(|(_, _, form)| form.clone()).unwrap_or_default();
    let order = if dump.is_interleaved(&form, config) { HALF_SPLIT } else { INTERLEAVED };
    dump.metadata.insert(KEY.to_owned(), order.word.to_owned());
    let read = right(dump, against, &sites).and_then(|other| Ok((other, consumer(dump, against, sites[0])?)));
    dump.metadata.remove(KEY);
    let (other, consumer) = read?;
    if !is_better(&sites, &recorded, &other) {
        return Ok(());
    }
    let explicit = format!("\"{KEY}\": \"{}\" in the metadata", order.word);
    let Some(consumer) = consumer else {
        let what = format!(
            "{} is right if {}: nothing recorded shows whether the port rotates them so",
            sites[0], order.means
        );
        let scores = Site { kind: Kind::Scores, ..sites[0] };
        let hint = format!("record {scores} too; or, if they are, state it: {explicit}");
        return Err(Error::file(&dump.name, what, hint));
    };
    dump.metadata.insert(KEY.to_owned(), order.word.to_owned());
    dump.recognised.push(Recognition {
        what: format!("{}, {}; {consumer} was computed from them", order.means, order.usual),
        explicit,
    });
    Ok(())
}

/// Is each of these sites right?
fn right(dump: &Recording, against: &Against<'_>, sites: &[Site]) -> Result<Vec<bool>> {
    let right = |&site: &Site| Ok(share(dump, against, site)?.is_none_or(|share| share <= 1.0));
    sites.iter().map(right).collect()
}

/// The first site of the layer that was computed from q and k.
fn consumer(dump: &Recording, against: &Against<'_>, of: Site) -> Result<Option<Site>> {
    for kind in CONSUMERS {
        let site = Site { kind, ..of };
        if dump.has(site) && share(dump, against, site)?.is_some() {
            return Ok(Some(site));
        }
    }
    Ok(None)
}

/// Is the other order better: are more sites right in it, and at least one of queries and one of keys, if both were
/// recorded?
fn is_better(sites: &[Site], recorded: &[bool], other: &[bool]) -> bool {
    let of = |kinds: [Kind; 3]| {
        let mut right = sites.iter().zip(other).filter(|(site, _)| kinds.contains(&site.kind)).peekable();
        right.peek().is_none() || right.any(|(_, right)| *right)
    };
    let count = |right: &[bool]| right.iter().filter(|right| **right).count();
    count(other) > count(recorded)
        && of([Kind::QProj, Kind::QNorm, Kind::QRope])
        && of([Kind::KProj, Kind::KNorm, Kind::KRope])
}
