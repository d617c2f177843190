//! Measures the effect of rounding on a port, using the port itself.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::Result;
use crate::compare::{Noise, Scale, ulp};
use crate::model::Input;
use crate::port::Port;
use crate::probe::{Kind, Probe, Shake, Site};

/// How many runs with random perturbations of one rounding are made.
const SHAKES: u64 = 8;

/// How far each site moves when every earlier site is perturbed by at most an ulp, relative to the scale of
/// its row: the largest over rows and runs. See [`Shake`].
pub(super) fn shaken(port: &mut dyn Port, input: &Input) -> Result<BTreeMap<Site, Noise>> {
    let dtype = port.traits().dtype;
    let mut run = |seed: Option<u64>| -> Result<BTreeMap<Site, Tensor>> {
        let shake = seed.map(|seed| Shake::new(seed, ulp(dtype)));
        let mut recorded = Recorded { shake, seen: BTreeMap::new() };
        port.begin();
        port.forward(input, &mut recorded)?;
        Ok(recorded.seen)
    };
    let still = run(None)?;
    let mut noise: BTreeMap<Site, Noise> = BTreeMap::new();
    for seed in 0..SHAKES {
        for (site, tensor) in run(Some(seed))? {
            let moved = spread(&still[&site], &tensor)?;
            let so_far = noise.entry(site).or_insert(Noise { max: 0.0, rms: 0.0 });
            *so_far = so_far.or_larger(moved);
        }
    }
    Ok(noise)
}

/// The largest relative distance between two tensors over their rows.
pub(super) fn spread(a: &Tensor, b: &Tensor) -> Result<Noise> {
    let width = a.dims().last().copied().unwrap_or(1).max(1);
    let flat = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?) };
    let (a, b) = (flat(a)?, flat(b)?);
    let mut noise = Noise { max: 0.0, rms: 0.0 };
    for (a, b) in a.chunks(width).zip(b.chunks(width)) {
        let scale = Scale::of(a.iter().map(|&v| f64::from(v)));
        let error = Scale::of(a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
        if scale.max > 0.0 {
            noise.max = noise.max.max(error.max / scale.max);
            noise.rms = noise.rms.max(error.rms / scale.rms);
        }
    }
    Ok(noise)
}

/// Records every site, of a run that is shaken or not.
struct Recorded {
    shake: Option<Shake>,
    seen: BTreeMap<Site, Tensor>,
}

impl Probe for Recorded {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        self.seen.insert(site, tensor.clone());
        match &mut self.shake {
            None => Ok(tensor),
            Some(shake) => shake.tap(site, tensor),
        }
    }
}
