//! Parameters of a norm.

/// A norm along each row, or along each head of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// The tensor that multiplies the normed values, `[width]` or `[head_dim]`.
    pub weight: String,
    /// The tensor that is added at the end, with the same shape.
    pub bias: Option<String>,
    /// How the values are normed.
    pub rule: NormRule,
}

/// How a norm is computed; usually all norms of a model share one rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormRule {
    /// The statistic whose root divides the row.
    pub statistic: Statistic,
    /// The small number ε that keeps the divisor away from zero.
    pub eps: f64,
    /// Where ε is added.
    pub eps_place: EpsPlace,
    /// How the weight tensor is used.
    pub gain: Gain,
    /// The part of a row that is normed by itself.
    pub span: NormSpan,
    /// Where PyTorch casts back to the model's dtype.
    pub cast: NormCast,
}

impl NormRule {
    /// Llama's norm: x / √(mean(x²) + ε), cast, · weight (Zhang and Sennrich, 2019).
    pub const fn rms(eps: f64) -> Self {
        Self {
            statistic: Statistic::MeanSquare,
            eps,
            eps_place: EpsPlace::InsideRoot,
            gain: Gain::Weight,
            span: NormSpan::Row,
            cast: NormCast::BeforeWeight,
        }
    }

    /// The number of entries that are normed together in rows of `width`.
    pub const fn run(&self, width: usize) -> usize {
        match self.span {
            NormSpan::Row => width,
            NormSpan::Head { head_dim } => head_dim,
        }
    }

    /// The factors of the normed values, for a weight.
    pub fn gain(&self, weight: &[f64]) -> Vec<f64> {
        match self.gain {
            Gain::Weight => weight.to_vec(),
            Gain::OnePlusWeight => weight.iter().map(|w| 1.0 + w).collect(),
        }
    }

    /// The same norm along each head of `head_dim` entries.
    pub const fn per_head(self, head_dim: usize) -> Self {
        Self { span: NormSpan::Head { head_dim }, ..self }
    }
}

/// The statistic whose root divides a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The mean of the squares: RMSNorm.
    MeanSquare,
    /// The variance; the mean is subtracted first: LayerNorm.
    Variance,
}

/// Where ε is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpsPlace {
    /// √(statistic + ε).
    InsideRoot,
    /// √statistic + ε.
    OutsideRoot,
}

/// The factor of the normed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The weight.
    Weight,
    /// 1 + the weight: Gemma.
    OnePlusWeight,
}

/// The part of a row that is normed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormSpan {
    /// The whole row.
    Row,
    /// Each run of `head_dim` entries; all share one weight of that length.
    Head {
        /// Number of entries in a head.
        head_dim: usize,
    },
}

/// Where PyTorch rounds a norm to the model's dtype. Before that it computes in float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormCast {
    /// Before the weight, and again after it: Llama, Qwen.
    BeforeWeight,
    /// Once, after the weight: Gemma, OLMo 2.
    AfterWeight,
}
