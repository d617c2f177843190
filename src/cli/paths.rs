//! The paths that a run judges: attention and matrix products.

use candle_core::Device;
use rbees_check::model::{self, Attention, Matmul};
use rbees_check::models::Model;

use super::choices::{AttentionChoice, MatmulChoice};
use super::stderr::say;

/// The attention paths: the chosen one, or all that the device has.
pub fn attentions(chosen: Option<AttentionChoice>, device: &Device) -> Vec<Attention> {
    match chosen {
        Some(path) => vec![path.into()],
        None if device.is_cpu() => vec![Attention::Plain, Attention::Fused],
        None => {
            say("note: fused attention runs on the CPU only; on this device only the plain path is checked");
            vec![Attention::Plain]
        }
    }
}

/// The matmul paths: the chosen one, or all that the model's file has.
pub fn matmuls(chosen: Option<MatmulChoice>, model: &Model) -> Vec<Matmul> {
    match chosen {
        Some(matmul) => vec![matmul.into()],
        None if model.weights.is_quantized() => vec![Matmul::Dense, Matmul::Quantized],
        None => vec![Matmul::Dense],
    }
}

/// The path that generates text: plain attention, and the blocks of a quantised file, unless another is chosen.
pub fn generating(
    attention: Option<AttentionChoice>,
    matmul: Option<MatmulChoice>,
    model: &Model,
) -> model::Path {
    let matmul = match matmul {
        Some(matmul) => matmul.into(),
        None if model.weights.is_quantized() => Matmul::Quantized,
        None => Matmul::Dense,
    };
    model::Path { attention: attention.unwrap_or(AttentionChoice::Plain).into(), matmul }
}

/// `dense`, `dense and quantized`.
pub fn named(matmuls: &[Matmul]) -> String {
    matmuls.iter().map(|matmul| matmul.name()).collect::<Vec<_>>().join(" and ")
}
