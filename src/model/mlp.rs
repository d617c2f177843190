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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// silu(−12) = −7.4e-5. Candle's own f16 function returns 0, because exp(12) does not fit into f16.
    #[test]
    fn silu_of_an_f16_gate_far_below_zero_is_not_lost() {
        let one = |value: f32| Tensor::new(&[[value]], &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap();
        let identity = || Projection::dense(one(1.0));
        let mlp = Mlp {
            gate_proj: identity(),
            up_proj: identity(),
            down_proj: identity(),
            activation: Activation::Silu,
        };
        let x = one(-12.0).unsqueeze(0).unwrap(); // [1, 1, 1]
        let out = mlp.forward(&x, &mut Taps { probe: &mut (), layer: 0 }).unwrap();
        let out = out.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        approx::assert_relative_eq!(out[0], 12.0 * 12.0 / (1.0 + 12f32.exp()), max_relative = 2e-3);
    }
}
