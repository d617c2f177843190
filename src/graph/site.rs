//! The name of a site in any family.

use std::fmt;
use std::sync::Arc;

use crate::probe::Site;

/// The Hugging Face module path of a tensor: `model.layers.0.self_attn.q_proj`. A tensor that no module
/// returns has a path that we define: `….self_attn.scores`. Modules differ between families, so names are not
/// a closed list and have no order: see [`Graph::position`](super::Graph::position).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteName(Arc<str>);

impl SiteName {
    /// The site with this path.
    pub fn new(path: impl AsRef<str>) -> Self {
        Self(path.as_ref().into())
    }

    /// The probed site with this name. A step within an operation has none, because no port hands it over.
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
