//! The true values and the noise of products with the blocks of a quantised file.

use std::collections::BTreeMap;

use super::setup::Setup;
use super::values::{Truth, exact};
use crate::oracle::{LastRead, OnBlocks};
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::{Feed, MadeQuantized, ReferenceRows};
use crate::{Error, Result};

/// The sites at which this arithmetic differs from dense products, under each feed, and its noise. `dense` has the
/// values that a feed substitutes.
pub(super) fn compute(setup: &Setup<'_>, arithmetic: Arithmetic, dense: &Truth) -> Result<MadeQuantized> {
    let read = LastRead::default();
    let under = |feed: Feed| -> Result<BTreeMap<Site, ReferenceRows>> {
        let known = dense.only(|site| feed.replaces(site.kind));
        exact(setup, OnBlocks::exact(arithmetic, &read), &known)
    };
    let (mut rows, mut truths) = (BTreeMap::new(), BTreeMap::new());
    for &feed in setup.feeds {
        let all = under(feed)?;
        truths.insert(feed, Truth::of(setup.graph, &all)?);
        let own = all.into_iter().filter(|(site, _)| differs(feed, site.kind));
        rows.extend(own.map(|(site, own)| ((feed, site), own)));
    }
    let truth = |feed| truths.get(&feed).cloned().ok_or_else(|| Error::internal("a feed was not computed"));
    Ok(MadeQuantized { rows, noise: setup.noise(arithmetic, &truth, dense)? })
}

/// Is such a site judged under this feed, and computed with a product?
fn differs(feed: Feed, kind: Kind) -> bool {
    match feed {
        Feed::Site => kind.is_product(),
        Feed::Block => kind == Kind::Block,
        Feed::Own => matches!(kind, Kind::FinalNorm | Kind::Logits | Kind::CappedLogits),
    }
}
