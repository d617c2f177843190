//! Arguments whose value is one of a few words.

use clap::ValueEnum;
use rbees_check::model::{self, Attention};
use rbees_check::reference::Feed;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    F32,
    Bf16,
    F16,
}

impl From<Dtype> for candle_core::DType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::BF16,
            Dtype::F16 => Self::F16,
        }
    }
}

/// `Plain` attention keeps scores and probabilities as tensors; `Fused` runs one kernel that never stores
/// them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AttentionChoice {
    Plain,
    Fused,
}

impl From<AttentionChoice> for Attention {
    fn from(attention: AttentionChoice) -> Self {
        match attention {
            AttentionChoice::Plain => Self::Plain,
            AttentionChoice::Fused => Self::Fused,
        }
    }
}

/// `Dense` multiplies by float weights; `Quantized` multiplies by the blocks of a quantised file.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum MatmulChoice {
    Dense,
    Quantized,
}

impl From<MatmulChoice> for model::Matmul {
    fn from(matmul: MatmulChoice) -> Self {
        match matmul {
            MatmulChoice::Dense => Self::Dense,
            MatmulChoice::Quantized => Self::Quantized,
        }
    }
}

/// Where reference tensors are substituted in a forward pass.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FeedChoice {
    Site,
    Block,
    Own,
}

impl From<FeedChoice> for Feed {
    fn from(feed: FeedChoice) -> Self {
        match feed {
            FeedChoice::Site => Self::Site,
            FeedChoice::Block => Self::Block,
            FeedChoice::Own => Self::Own,
        }
    }
}
