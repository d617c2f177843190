//! What a layer is handed beside its input: what all layers of a pass share, and the probe.

use candle_core::Tensor;

use super::mask::Mask;
use super::rope::Rotation;
use crate::Result;
use crate::probe::{Kind, Probe, Site};

/// What every layer of one forward pass shares.
#[derive(Debug)]
pub struct Pass {
    /// How far each token's queries and keys turn.
    pub rotation: Rotation,
    /// Which keys each query sees.
    pub mask: Mask,
}

/// The probe, at one layer.
#[derive(Debug)]
pub struct Taps<'a, P> {
    /// Receives the tensors.
    pub probe: &'a mut P,
    /// Names them.
    pub layer: usize,
}

impl<P: Probe> Taps<'_, P> {
    /// Hands over the tensor of this layer's `kind` and returns the one to go on with.
    #[inline(always)]
    pub fn tap(&mut self, kind: Kind, tensor: Tensor) -> Result<Tensor> {
        self.probe.tap(Site::layer(self.layer, kind), tensor)
    }
}
