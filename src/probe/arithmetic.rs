//! Which arithmetic a truth belongs to.

use serde::Deserialize;

/// What matrices are multiplied with: floats, or activations rounded to 8 bits, so many to a scale.
/// Each is another truth.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arithmetic {
    /// Nothing is rounded but by the dtype.
    #[default]
    #[serde(rename = "dense")]
    Dense,
    /// Activations rounded in blocks of 32 (of 256 before K types).
    #[serde(rename = "32")]
    Blocks32,
    /// The same, but in blocks of 256 before Q8_0 too, where the matrix's shape allows it.
    #[serde(rename = "256")]
    Blocks256,
}

impl Arithmetic {
    /// Its name in file names and in what is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Arithmetic::Dense => "dense",
            Arithmetic::Blocks32 => "quantized-32",
            Arithmetic::Blocks256 => "quantized-256",
        }
    }
}
