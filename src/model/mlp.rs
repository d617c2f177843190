//! The feed-forward network, built on `Tensor::silu` and a product. `candle_nn::ops::swiglu` does the same
//! two operations after it splits one [gate | up] tensor, so we would have to join the two first.

use candle_core::{Module, Tensor};

use super::load::Loader;
use super::pass::Taps;
use super::projection::Projection;
use crate::Result;
use crate::probe::{Kind, Probe};
use crate::weights::Config;

/// The feed-forward network of a block: down(silu(gate(x)) · up(x)).
#[derive(Clone, Debug)]
pub struct Mlp {
    /// `[ffn, hidden]`.
    pub gate_proj: Projection,
    /// `[ffn, hidden]`.
    pub up_proj: Projection,
    /// `[hidden, ffn]`.
    pub down_proj: Projection,
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
        })
    }

    /// `[b, s, hidden]` → the same shape.
    pub fn forward<P: Probe>(&self, x: &Tensor, taps: &mut Taps<P>) -> Result<Tensor> {
        let gate = taps.tap(Kind::Gate, self.gate_proj.forward(x)?)?; // [b, s, ffn]
        let up = taps.tap(Kind::Up, self.up_proj.forward(x)?)?; // [b, s, ffn]
        let act = taps.tap(Kind::Act, (gate.silu()? * up)?)?; // [b, s, ffn]
        taps.tap(Kind::Down, self.down_proj.forward(&act)?) // [b, s, hidden]
    }
}
