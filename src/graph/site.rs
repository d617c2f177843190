//! The name of a site, in any family.

use std::fmt;
use std::sync::Arc;

use crate::probe::Site;

/// The Hugging Face module path of a tensor: `model.layers.0.self_attn.q_proj`. Where no module stands, a path
/// of ours: `….self_attn.scores`. Families have other modules, so names are not a closed list, and they have no
/// order: see [`Graph::position`](super::Graph::position).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteName(Arc<str>);

impl SiteName {
    /// The site of this path.
    pub fn new(path: impl AsRef<str>) -> Self {
        Self(path.as_ref().into())
    }

    /// The site that is probed under this name. A step within an operation has none: no port shows it.
    pub fn probed(&self) -> Option<Site> {
        self.0.parse().ok()
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Site> for SiteName {
    fn from(site: Site) -> Self {
        Self::new(site.to_string())
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
