//! What the passes before a pass left in the cache.

use super::Against;
use crate::Result;
use crate::probe::{Kind, Site};
use crate::recording::{Cache, Recording, SiteTensor};

/// The text of the earlier passes, and its keys and values as far as they were recorded.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// Their slots, with keys and values.
    pub(super) cache: Cache,
    /// Their token ids, one row for each row of the batch; only those of the passes that are known.
    pub(super) ids: Vec<Vec<u32>>,
}

impl Earlier {
    /// The number of slots.
    pub(super) fn slots(&self) -> usize {
        self.cache.slots()
    }

    /// What `dump`, which has been understood, leaves for the pass after it.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub(super) fn after(&self, dump: &Recording, against: &Against<'_>) -> Result<Self> {
        let past = dump.cache();
        if dump.reads_a_cache() && past.slots() == 0 {
            return Ok(Self::default()); // the slots before it are unknown
        }
        let begins = past.slots() == 0;
        let empty = vec![vec![]; dump.input.batch()];
        let before = if begins || self.slots() != past.slots() { &empty } else { &self.ids };
        let ids = before.iter().zip(&dump.input.ids).map(|(before, own)| [&before[..], own].concat());
        let mut cache = past.followed_by(&dump.input.real);
        for layer in 0..dump.layers(against)? {
            for kind in [Kind::KRope, Kind::VProj] {
                let site = Site::layer(layer, kind);
                let own = dump.fit(site, against)?.filter(|own| own.shape().queries == dump.length());
                let Some(own) = own else { continue };
                let rows = match past.at(site) {
                    Some(past) => past.followed_by(&own)?,
                    None if begins => own.in_reference_order()?,
                    None => continue,
                };
                cache.insert(rows);
            }
        }
        Ok(Self { cache, ids: ids.collect() })
    }

    /// The rows of a site at every slot.
    pub(super) fn rows(&self, site: Site) -> Option<&SiteTensor> {
        self.cache.at(site)
    }
}
