//! With which values a setting of a model changes nothing.

use serde_json::Value;

use super::value::finite;

/// With which values a setting changes nothing. Null never changes anything.
pub(super) enum Harmless {
    /// False, 0, or empty.
    Off,
    /// True, or 1.
    On,
    /// The number 1, and false.
    One,
    /// One of these texts.
    Texts(&'static [&'static str]),
    /// The width of a head.
    HeadDim,
    /// 1 / √head_dim.
    RootOfHeadDim,
    /// A list of ones: each layer is rotated.
    AllRotated,
    /// A list of this text, once for each layer.
    AllLayers(&'static str),
    /// Off, -1, or at least the context length.
    OffOrWholeContext,
    /// Any: it is read.
    Any,
    /// Never.
    Never,
}

/// What the values are compared with.
pub(super) struct Sizes {
    pub(super) head_dim: usize,
    pub(super) layers: usize,
    pub(super) context: usize,
}

impl Harmless {
    /// Whether a Llama with this value computes as usual.
    pub(super) fn allows(&self, value: &Value, sizes: &Sizes) -> bool {
        let off = |value: &Value| match value {
            Value::Bool(on) => !on,
            Value::Number(_) => finite(value) == Some(0.0),
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Null => true,
        };
        let near = |want: f64| finite(value).is_some_and(|got| (got / want - 1.0).abs() < 1e-6);
        match self {
            Self::Off => off(value),
            Self::On => value == &Value::Bool(true) || finite(value) == Some(1.0),
            Self::One => finite(value) == Some(1.0) || value == &Value::Bool(false),
            Self::Texts(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Self::HeadDim => near(sizes.head_dim as f64),
            Self::RootOfHeadDim => near(1.0 / (sizes.head_dim as f64).sqrt()),
            Self::AllRotated => {
                value.as_array().is_some_and(|list| list.iter().all(|one| finite(one) == Some(1.0)))
            }
            Self::AllLayers(text) => {
                let same =
                    |list: &Vec<Value>| list.len() == sizes.layers && list.iter().all(|one| one == text);
                value.as_array().is_some_and(same)
            }
            Self::OffOrWholeContext => {
                off(value)
                    || finite(value).is_some_and(|window| window == -1.0 || window >= sizes.context as f64)
            }
            Self::Any => true,
            Self::Never => false,
        }
    }
}
