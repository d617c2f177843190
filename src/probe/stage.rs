//! The stages of a model, for runs that hold only one of them in memory.

use super::site::{Kind, Site};

/// A stage of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageName {
    /// Token ids → hidden rows.
    Embedding,
    /// The layer with this number.
    Layer(usize),
    /// The final norm and the logits.
    Head,
}

impl StageName {
    /// All stages of a model of `layers` layers, in order.
    pub fn all(layers: usize) -> Vec<Self> {
        [Self::Embedding].into_iter().chain((0..layers).map(Self::Layer)).chain([Self::Head]).collect()
    }

    /// The site that the stage reads; `None` for the embedding.
    pub fn input(self, layers: usize) -> Option<Site> {
        let before = |layer: usize| match layer {
            0 => Site::model(Kind::Embed),
            layer => Site::layer(layer - 1, Kind::Block),
        };
        match self {
            Self::Embedding => None,
            Self::Layer(layer) => Some(before(layer)),
            Self::Head => Some(before(layers)),
        }
    }
}
