//! The arithmetic of matrix products that a reference was computed with.

use serde::Deserialize;

/// How activations enter matrix products: as floats, or rounded to 8 bits in blocks that share a scale. Each
/// arithmetic has its own reference.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arithmetic {
    /// Activations are rounded only to the dtype.
    #[default]
    #[serde(rename = "dense")]
    Dense,
    /// Activations are rounded in blocks of 32 (of 256 for K-type matrices).
    #[serde(rename = "32")]
    Blocks32,
    /// The same, but in blocks of 256 for Q8_0 matrices too, if their shape allows it.
    #[serde(rename = "256")]
    Blocks256,
}

impl Arithmetic {
    /// Its name in a manifest.
    pub const fn key(self) -> &'static str {
        match self {
            Arithmetic::Dense => "dense",
            Arithmetic::Blocks32 => "32",
            Arithmetic::Blocks256 => "256",
        }
    }

    /// Its name in file names and output.
    pub const fn name(self) -> &'static str {
        match self {
            Arithmetic::Dense => "dense",
            Arithmetic::Blocks32 => "quantized-32",
            Arithmetic::Blocks256 => "quantized-256",
        }
    }
}
