//! A probe that perturbs a forward pass by as much as rounding does.

use candle_core::{DType, Tensor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Kind, Probe, Site};
use crate::Result;

/// Multiplies every entry of every site by a random factor of 1 ± one ulp. How far later sites move is an estimate of
/// rounding error that needs no second implementation: Monte Carlo arithmetic (Parker, 1997) applied to sites.
#[derive(Debug)]
pub struct Shake {
    rng: StdRng,
    ulp: f64,
}

impl Shake {
    /// Draws factors from the random stream of `seed`; `ulp` is the distance from 1 to the next number of the dtype.
    pub fn new(seed: u64, ulp: f64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), ulp }
    }
}

impl Probe for Shake {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, _: Site, tensor: Tensor) -> Result<Tensor> {
        let (rng, ulp) = (&mut self.rng, self.ulp);
        let factors: Vec<f64> =
            (0..tensor.elem_count()).map(|_| 1.0 + ulp * rng.random_range(-1.0..=1.0)).collect();
        let factors = Tensor::from_vec(factors, tensor.shape(), tensor.device())?;
        Ok((tensor.to_dtype(DType::F64)? * factors)?.to_dtype(tensor.dtype())?)
    }
}
