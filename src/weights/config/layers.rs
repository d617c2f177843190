//! The types of layer.

/// The largest number of layers: a site's layer number has 16 bits. No list is made for more.
pub(super) const MOST_LAYERS: usize = u16::MAX as usize;

/// Which keys the queries of a layer see, with transformers' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerType {
    /// All earlier keys.
    #[default]
    Full,
    /// The keys in the model's window.
    Sliding,
}

impl LayerType {
    /// The type with this name in the `layer_types` of a config.json.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Full, Self::Sliding].into_iter().find(|of| of.name() == name)
    }

    /// Its name in the `layer_types` of a config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full_attention",
            Self::Sliding => "sliding_attention",
        }
    }

    /// `layers` types, of which every `pattern`-th is full: transformers' and llama.cpp's rule. A pattern of 0
    /// means that none is.
    pub(super) fn every(pattern: usize, layers: usize) -> Vec<Self> {
        let full = |layer: usize| pattern > 0 && (layer + 1).is_multiple_of(pattern);
        (0..layers).map(|layer| if full(layer) { Self::Full } else { Self::Sliding }).collect()
    }
}
