//! Functions of one number that ports use by mistake, or in another place than they should.

use candle_core::cpu::erf::erf_f64;

use crate::oracle::silu;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Function {
    Identity,
    Relu,
    ReluSquared,
    LeakyRelu,
    Elu,
    Tanh,
    Sigmoid,
    Silu,
    SiluTwice,
    SiluMirrored,
    SiluPrime,
    Swish2,
    QuickGelu,
    Gelu,
    GeluTanh,
    Mish,
    Softplus,
    HardSwish,
    HardSigmoid,
    Square,
    Magnitude,
    Exp,
    Sine,
}

impl Function {
    /// Every function, the most probable first.
    pub const ALL: [Self; 23] = [
        Self::Gelu,
        Self::GeluTanh,
        Self::Relu,
        Self::Identity,
        Self::Silu,
        Self::Sigmoid,
        Self::Tanh,
        Self::QuickGelu,
        Self::ReluSquared,
        Self::Swish2,
        Self::SiluTwice,
        Self::SiluMirrored,
        Self::SiluPrime,
        Self::LeakyRelu,
        Self::Elu,
        Self::Mish,
        Self::Softplus,
        Self::HardSwish,
        Self::HardSigmoid,
        Self::Square,
        Self::Magnitude,
        Self::Exp,
        Self::Sine,
    ];

    /// Its value at `x`.
    pub fn of(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        match self {
            Self::Identity => x,
            Self::Relu => x.max(0.0),
            Self::ReluSquared => x.max(0.0).powi(2),
            Self::LeakyRelu => x.max(0.01 * x),
            Self::Elu => {
                if x > 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
            Self::Tanh => x.tanh(),
            Self::Sigmoid => sigmoid(x),
            Self::Silu => silu(x),
            Self::SiluTwice => silu(silu(x)),
            Self::SiluMirrored => silu(-x),
            Self::SiluPrime => sigmoid(x) * (1.0 + x * sigmoid(-x)),
            Self::Swish2 => x * sigmoid(2.0 * x),
            Self::QuickGelu => x * sigmoid(1.702 * x),
            Self::Gelu => 0.5 * x * (1.0 + erf_f64(x * std::f64::consts::FRAC_1_SQRT_2)),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            Self::Mish => x * softplus(x).tanh(),
            Self::Softplus => softplus(x),
            Self::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::Square => x * x,
            Self::Magnitude => x.abs(),
            Self::Exp => x.exp(),
            Self::Sine => x.sin(),
        }
    }

    /// Its name or formula.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "x itself, with no function",
            Self::Relu => "ReLU",
            Self::ReluSquared => "the square of ReLU",
            Self::LeakyRelu => "leaky ReLU with slope 0.01",
            Self::Elu => "ELU",
            Self::Tanh => "tanh",
            Self::Sigmoid => "the sigmoid, without the factor x",
            Self::Silu => "SiLU",
            Self::SiluTwice => "SiLU applied twice",
            Self::SiluMirrored => "SiLU of −x",
            Self::SiluPrime => "the derivative of SiLU",
            Self::Swish2 => "x · σ(2x)",
            Self::QuickGelu => "quick GELU, x · σ(1.702 x)",
            Self::Gelu => "GELU",
            Self::GeluTanh => "GELU's tanh approximation",
            Self::Mish => "Mish",
            Self::Softplus => "softplus",
            Self::HardSwish => "hard swish",
            Self::HardSigmoid => "hard sigmoid",
            Self::Square => "the square",
            Self::Magnitude => "the absolute value",
            Self::Exp => "the exponential",
            Self::Sine => "the sine",
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rstest::rstest;

    use super::*;

    /// The formulas of torch.nn.functional, in Python's math, at x = −1.5 and x = 0.7.
    #[rstest]
    #[case(Function::Gelu, -0.10021080190328713, 0.5306254434438489)]
    #[case(Function::GeluTanh, -0.10042842301976707, 0.5305701347051167)]
    #[case(Function::Mish, -0.29809974216680685, 0.5611483776438518)]
    #[case(Function::HardSwish, -0.375, 0.43166666666666664)]
    #[case(Function::Softplus, 0.20141327798275246, 1.103186048885458)]
    fn a_function_has_the_values_of_its_formula(
        #[case] function: Function,
        #[case] low: f64,
        #[case] high: f64,
    ) {
        assert_relative_eq!(function.of(-1.5), low, max_relative = 1e-9);
        assert_relative_eq!(function.of(0.7), high, max_relative = 1e-9);
    }
}
