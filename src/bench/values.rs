//! Numbers for the inputs of cases: the same in every run.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// `n` numbers of a normal distribution with mean 0 and variance 1, the same for the same `n` and `seed`.
pub fn normal(n: usize, seed: u64) -> Vec<f64> {
    let mut source = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9) ^ n as u64);
    let mut one = || {
        // Box and Muller, 1958. The first number is never 0.
        let (u, v): (f64, f64) = (1.0 - source.random::<f64>(), source.random());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    (0..n).map(|_| one()).collect()
}

/// `n` whole numbers below `end`.
pub fn below(n: usize, end: usize, seed: u64) -> Vec<f64> {
    let mut source = StdRng::seed_from_u64(seed ^ 0x5bd1_e995);
    (0..n).map(|_| source.random_range(0..end) as f64).collect()
}
