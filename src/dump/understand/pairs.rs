//! The order of q and k within their heads: in Meta's code and in GGUF files, elements i and i + head_dim/2 are next
//! to each other. Scores are the same in both orders. A port that reads its weights in one order and rotates in the
//! other computes wrong scores, so what decides is that q and k, projected and rotated, are all right in that order,
//! and that a tensor was recorded that was computed from them.

use super::follows::{share, some_of};
use crate::dump::Against;
use crate::probe::{Kind, Site};
use crate::recording::{Recognition, Recording};
use crate::{Error, Result};

/// The key in the metadata, and the value that is recognised.
const KEY: &str = "layout";
const INTERLEAVED: &str = "interleaved";

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
    if dump.metadata.contains_key(KEY) || sites.is_empty() || !sites.iter().all(open) {
        return Ok(());
    }
    let recorded = right(dump, against, &sites)?;
    if recorded.iter().all(|right| *right) {
        return Ok(());
    }
    dump.metadata.insert(KEY.to_owned(), INTERLEAVED.to_owned());
    let read = right(dump, against, &sites).and_then(|other| Ok((other, consumer(dump, against, sites[0])?)));
    dump.metadata.remove(KEY);
    let (other, consumer) = read?;
    if !is_better(&sites, &recorded, &other) {
        return Ok(());
    }
    let explicit = format!("\"{KEY}\": \"{INTERLEAVED}\" in the metadata");
    let Some(consumer) = consumer else {
        let what = format!(
            "{} is right if elements i and i + head_dim/2 are next to each other in q and k: nothing recorded shows whether the port rotates them so",
            sites[0]
        );
        let scores = Site { kind: Kind::Scores, ..sites[0] };
        let hint = format!("record {scores} too; or, if they are, state it: {explicit}");
        return Err(Error::file(&dump.name, what, hint));
    };
    dump.metadata.insert(KEY.to_owned(), INTERLEAVED.to_owned());
    dump.recognised.push(Recognition {
        what: format!(
            "elements i and i + head_dim/2 are next to each other in q and k, as in GGUF files; {consumer} was computed from them"
        ),
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
