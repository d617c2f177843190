//! The arguments of a layer besides its input: the data that all layers of a pass share, and the probe.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::mask::Mask;
use super::rope::Rotation;
use crate::probe::{Kind, Probe, Site};
use crate::weights::LayerType;
use crate::{Error, Result};

/// The data that the layers of one forward pass share.
#[derive(Debug)]
pub struct Pass {
    views: BTreeMap<LayerType, View>,
}

impl Pass {
    /// Data for layers of these types.
    pub fn new(views: BTreeMap<LayerType, View>) -> Self {
        Self { views }
    }

    /// What layers of this type share.
    pub fn of(&self, layer_type: LayerType) -> Result<&View> {
        self.views.get(&layer_type).ok_or_else(|| Error::internal("a layer of a type without a mask"))
    }
}

/// What all layers of one type share.
#[derive(Debug)]
pub struct View {
    /// The rotation of each row's queries and keys.
    pub rotation: Rotation,
    /// The rows of each cache, one after another.
    pub spans: Vec<Span>,
}

/// Consecutive rows with a cache of their own.
#[derive(Debug)]
pub struct Span {
    /// The index of its first row.
    pub start: usize,
    /// Its number of rows.
    pub len: usize,
    /// Which keys of its cache each of its queries sees.
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
