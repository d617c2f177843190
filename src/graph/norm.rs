//! The parameters of a norm.

/// A norm along each row, or along each head of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// The tensor that multiplies what was normed, `[width]` or `[head_dim]`.
    pub weight: String,
    /// The tensor that is added at the end, of the same shape.
    pub bias: Option<String>,
    /// How it is normed.
    pub rule: NormRule,
}

/// How a norm norms; all norms of a model mostly share one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormRule {
    /// What the row is divided by the root of.
    pub statistic: Statistic,
    /// The small number that keeps the divisor away from zero.
    pub eps: f64,
    /// Where ε is added.
    pub eps_place: EpsPlace,
    /// What the weight tensor stands for.
    pub gain: Gain,
    /// What is normed on its own.
    pub span: NormSpan,
    /// Where PyTorch casts back to the model's dtype.
    pub cast: NormCast,
}

impl NormRule {
    /// Llama's: x / √(mean(x²) + ε), cast, · weight (Zhang and Sennrich, 2019).
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

    /// The same norm along each head of `head_dim` entries.
    pub const fn per_head(self, head_dim: usize) -> Self {
        Self { span: NormSpan::Head { head_dim }, ..self }
    }
}

/// What a row is divided by the root of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The mean of the squares: RMSNorm.
    MeanSquare,
    /// The variance, after the mean was subtracted: LayerNorm.
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

/// What multiplies the normed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The weight.
    Weight,
    /// 1 + the weight: Gemma.
    OnePlusWeight,
}

/// What is normed on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormSpan {
    /// The whole row.
    Row,
    /// Each run of `head_dim` entries; all share one weight of that length.
    Head {
        /// Entries of a head.
        head_dim: usize,
    },
}

/// Where PyTorch rounds a norm to the model's dtype. It computes in float32 up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormCast {
    /// Before the weight, and the product with the weight again: Llama, Qwen.
    BeforeWeight,
    /// Once, after the weight: Gemma, OLMo 2.
    AfterWeight,
}
