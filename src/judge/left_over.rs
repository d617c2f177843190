//! Does the first token of a prompt attend to anything but itself?

use candle_core::{DType, Device, IndexOp, Tensor};

use crate::Result;
use crate::model::Input;
use crate::port::Port;
use crate::probe::{Kind, Probe, Site};

/// Runs `first`, then `second` on a cache that should be empty. The first token then attends only to itself,
/// so its context is its own value. A difference of more than 2% of the largest entry cannot be rounding.
pub(super) fn seen(port: &mut dyn Port, second: &Input, first: &Input) -> bool {
    let at = second.real[0].iter().position(|&real| real).unwrap_or(0);
    port.begin();
    let _ = port.forward(first, &mut ());
    port.begin();
    let mut look = Look { at, value: vec![], context: vec![], keys: 0, head_dim: 0 };
    let _ = port.forward(second, &mut look); // an error after these sites does not matter
    look.keys > second.len() || look.differs()
}

/// Records the first token's value and context in layer 0.
struct Look {
    at: usize,
    value: Vec<f32>,
    context: Vec<f32>,
    keys: usize,
    head_dim: usize,
}

impl Look {
    fn differs(&self) -> bool {
        let largest = self.value.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        // Each head's context must equal the value of one of the value heads.
        let own = |context: &[f32]| {
            let same =
                |value: &[f32]| value.iter().zip(context).all(|(v, c)| (c - v).abs() <= 0.02 * largest);
            self.value.chunks(self.head_dim).any(same)
        };
        self.head_dim > 0 && !self.value.is_empty() && !self.context.chunks(self.head_dim).all(own)
    }
}

impl Probe for Look {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let row = |tensor: &Tensor| -> Result<Vec<f32>> {
            let row = tensor.i((0, self.at))?.to_dtype(DType::F32)?;
            Ok(row.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
        };
        if site == Site::layer(0, Kind::VProj) {
            self.value = row(&tensor)?;
        }
        if site == Site::layer(0, Kind::KRope) {
            self.head_dim = tensor.dims().last().copied().unwrap_or(0);
        }
        if site == Site::layer(0, Kind::Context) {
            self.context = row(&tensor)?;
        }
        if site == Site::layer(0, Kind::Scores) {
            self.keys = tensor.dims().last().copied().unwrap_or(0);
        }
        Ok(tensor)
    }
}
