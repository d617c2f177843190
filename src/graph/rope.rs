//! Parameters of a rotation (Su et al., 2021).

/// Rotates pairs of each head's elements by an angle that grows with the position.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The angle by which each pair turns from one position to the next.
    pub law: FrequencyLaw,
    /// Which two elements form a pair.
    pub pairing: Pairing,
    /// Number of entries in a head.
    pub head_dim: usize,
    /// How many entries of a head are rotated, from the first; the others stay. Even, and at most `head_dim`.
    pub turned: usize,
    /// The factor of cosine and sine: 1, or a long-context factor.
    pub magnitude: f64,
    /// Where PyTorch casts.
    pub cast: RopeCast,
}

impl Rope {
    /// Llama's rotation in Hugging Face's order of rows: whole heads, halves as pairs, cosine and sine cast.
    pub const fn whole(law: FrequencyLaw, head_dim: usize) -> Self {
        let pairing = Pairing::Halves;
        Self { law, pairing, head_dim, turned: head_dim, magnitude: 1.0, cast: RopeCast::EveryStep }
    }
}

/// The angle, in radians, by which pair i of n = `turned / 2` turns from one position to the next. The
/// variants call θ^(−i/n) its base frequency.
#[derive(Clone, Debug, PartialEq)]
pub enum FrequencyLaw {
    /// The base frequency.
    Base {
        /// θ.
        theta: f64,
    },
    /// The base frequency over `factor` (position interpolation; Chen et al., 2023).
    Linear {
        /// θ.
        theta: f64,
        /// The factor by which all pairs turn more slowly.
        factor: f64,
    },
    /// Llama 3.1's law: long wavelengths are stretched by `factor`, short ones stay, those in between are
    /// blended.
    Llama3 {
        /// θ.
        theta: f64,
        /// The factor by which long wavelengths are stretched.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are short.
        high_freq_factor: f64,
        /// The context length, in tokens, before stretching.
        original: usize,
    },
    /// The base frequency over a divisor per pair: `rope_freqs.weight` of a GGUF file, or longrope's factors.
    Divided {
        /// θ.
        theta: f64,
        /// One divisor per pair, `[turned / 2]`.
        divisors: Vec<f64>,
    },
}

impl FrequencyLaw {
    /// θ.
    pub const fn theta(&self) -> f64 {
        match self {
            Self::Base { theta }
            | Self::Linear { theta, .. }
            | Self::Llama3 { theta, .. }
            | Self::Divided { theta, .. } => *theta,
        }
    }

    /// The same law with another θ.
    pub fn with_theta(&self, other: f64) -> Self {
        let mut law = self.clone();
        match &mut law {
            Self::Base { theta }
            | Self::Linear { theta, .. }
            | Self::Llama3 { theta, .. }
            | Self::Divided { theta, .. } => *theta = other,
        }
        law
    }
}

/// Which two elements of the rotated part of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// i and i + turned/2: Hugging Face.
    Halves,
    /// 2i and 2i + 1: GGUF llama and Meta's own files.
    Neighbours,
}

impl Pairing {
    /// The two elements of each pair of the first `turned` elements of a head, `[turned/2]`.
    pub fn pairs(self, turned: usize) -> Vec<(usize, usize)> {
        let elements = |i| match self {
            Self::Halves => (i, i + turned / 2),
            Self::Neighbours => (2 * i, 2 * i + 1),
        };
        (0..turned / 2).map(elements).collect()
    }
}

/// Where PyTorch rounds a rotation to the model's dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeCast {
    /// It rounds cosine and sine, both products and their sum: Llama.
    EveryStep,
    /// It rounds only the sum; cosine and sine stay in float32: OLMo 2.
    Sum,
}
