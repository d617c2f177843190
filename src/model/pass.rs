//! The arguments of a layer besides its input: the data that all layers of a pass share, and the probe.

use candle_core::Tensor;

use super::mask::Mask;
use super::rope::Rotation;
use crate::Result;
use crate::probe::{Kind, Probe, Site};

/// The data that all layers of one forward pass share.
#[derive(Debug)]
pub struct Pass {
    /// The rotation of each token's queries and keys.
    pub rotation: Rotation,
    /// Which keys each query sees.
    pub mask: Mask,
}

/// The probe for one layer.
#[derive(Debug)]
pub struct Taps<'a, P> {
    /// The probe that receives the tensors.
    pub probe: &'a mut P,
    /// The layer in their names.
    pub layer: usize,
}

impl<P: Probe> Taps<'_, P> {
    /// Hands over the tensor of this layer's `kind` and returns the one to continue with.
    #[inline(always)]
    pub fn tap(&mut self, kind: Kind, tensor: Tensor) -> Result<Tensor> {
        self.probe.tap(Site::layer(self.layer, kind), tensor)
    }
}
