//! The feed-forward network, built on `Tensor::{silu, gelu}` and a product. `candle_nn::ops::swiglu` does SiLU and
//! the product after it splits one [gate | up] tensor, so we would have to join the two first.
//!
//! `Tensor::gelu` is the approximation with tanh; `gelu_erf` is the exact function. In half precision both functions round
//! after every step, and SiLU of an f16 gate below −11 is 0, so they are computed in f32 and rounded once, as in PyTorch.

use candle_core::{DType, Module, Tensor};

use super::load::Loader;
use super::pass::Taps;
use super::projection::Projection;
use crate::Result;
use crate::probe::{Kind, Probe};
use crate::weights::{Activation, Config};

/// The feed-forward network of a block: down(activation(gate(x)) · up(x)).
#[derive(Clone, Debug)]
pub struct Mlp {
    /// `[ffn, hidden]`.
    pub gate_proj: Projection,
    /// `[ffn, hidden]`.
    pub up_proj: Projection,
    /// `[hidden, ffn]`.
    pub down_proj: Projection,
    /// The function of the gate.
    pub activation: Activation,
}

impl Mlp {
    /// Loads the tensors under the layer `prefix`.
    pub fn load(loader: &Loader, prefix: &str, config: &Config) -> Result<Self> {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let linear = |name: &str, outputs, inputs| {
            loader.projection(prefix, &format!("mlp.{name}"), (outputs, inputs), config)
        };
        Ok(Self {
            gate_proj: linear("gate_proj", ffn, hidden)?,
            up_proj: linear("up_proj", ffn, hidden)?,
            down_proj: linear("down_proj", hidden, ffn)?,
            activation: config.family.activation(),
        })
    }

    /// `[b, s, hidden]` → the same shape.
    pub fn forward<P: Probe>(&self, x: &Tensor, taps: &mut Taps<P>) -> Result<Tensor> {
        let gate = taps.tap(Kind::Gate, self.gate_proj.forward(x)?)?; // [b, s, ffn]
        let up = taps.tap(Kind::Up, self.up_proj.forward(x)?)?; // [b, s, ffn]
        let wide = gate.to_dtype(DType::F32)?; // [b, s, ffn]
        let active = match self.activation {
            Activation::Silu => wide.silu()?,
            Activation::GeluTanh => wide.gelu()?,
        }; // [b, s, ffn]
        let act = taps.tap(Kind::Act, (active.to_dtype(gate.dtype())? * up)?)?; // [b, s, ffn]
        taps.tap(Kind::Down, self.down_proj.forward(&act)?) // [b, s, hidden]
    }
}
