//! Rows of one pass under several feeds, one batch row for each.

use super::tokens::Tokens;
use crate::oracle::{Pass, Place, Placed, Rows};
use crate::reference::Feed;
use crate::{Error, Result};

/// The feeds, in the order of the batch rows.
pub(super) const FEEDS: [Feed; 3] = [Feed::Site, Feed::Block, Feed::Own];

/// The pass of a single prompt, once for each feed.
pub(super) fn pass(tokens: &Tokens) -> Result<Pass> {
    let repeat = |row: &[u32]| vec![row.to_vec(); FEEDS.len()];
    let single = tokens.ids.first().map_or(&[][..], Vec::as_slice);
    let places = (0..FEEDS.len()).flat_map(|feed| (0..single.len()).map(move |slot| (feed, slot)));
    let positions = vec![(0..single.len()).collect(); FEEDS.len()];
    Tokens { ids: repeat(single), positions, places: places.collect(), padding: None }.pass()
}

/// The places of a single prompt, in the batch rows of these feeds.
pub(super) fn places(single: &[Place], feeds: std::ops::Range<usize>) -> Vec<Place> {
    feeds.flat_map(|feed| single.iter().map(move |&(_, slot)| (feed, slot))).collect()
}

/// The rows of each feed, one after the other.
pub(super) fn stack(parts: [&Placed; 3]) -> Result<Placed> {
    let width = parts[0].rows().width;
    let values = parts.iter().flat_map(|part| part.rows().values.iter().copied()).collect();
    let places = parts.iter().enumerate().flat_map(|(feed, part)| places(part.places(), feed..feed + 1));
    Placed::new(Rows { width, values }, places.collect())
}

/// The rows of one feed, as those of a single prompt.
pub(super) fn part(stacked: &Placed, feed: usize) -> Result<Placed> {
    let own = || stacked.places().iter().zip(stacked.rows().iter()).filter(|((batch, _), _)| *batch == feed);
    let values = own().flat_map(|(_, row)| row.iter().copied()).collect();
    Placed::new(
        Rows { width: stacked.rows().width, values },
        own().map(|(&(_, slot), _)| (0, slot)).collect(),
    )
}

/// `one`, then `two`, whose places come later.
pub(super) fn and(one: Option<Placed>, two: Option<Placed>) -> Result<Placed> {
    let mut parts = one.into_iter().chain(two);
    let first = parts.next().ok_or_else(|| Error::internal("no row can be computed"))?;
    let Some(second) = parts.next() else { return Ok(first) };
    let values = [first.rows().values.as_slice(), &second.rows().values].concat();
    Placed::new(Rows { width: first.rows().width, values }, [first.places(), second.places()].concat())
}
