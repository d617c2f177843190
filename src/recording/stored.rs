//! The arrays of a recording file, mapped to sites.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;

use super::form::Form;
use crate::Result;
use crate::arrays::{Arrays, Entry};
use crate::probe::{Kind, Site};

/// The hint for a recording that cannot be read.
pub(super) const AGAIN: &str = "record it again; docs/dump-format.md describes the format of a recording";

/// The array of the logits of a run that was not recorded.
pub(super) const UNRECORDED: &str = "unrecorded.logits";

/// The arrays of a file and the sites they belong to.
#[derive(Debug)]
pub(super) struct Stored {
    pub arrays: Arrays,
    /// For each site, the name and the form of its array.
    pub sites: BTreeMap<Site, Array>,
    /// Further arrays of these sites.
    pub twice: Vec<(Site, Array)>,
    /// Arrays of each layer that are silu(gate) or silu(gate) · up.
    pub activations: BTreeMap<u16, Array>,
    /// Arrays of cached keys, under `k_rope`, and values, under `v_proj`.
    pub caches: BTreeMap<Site, Array>,
    /// Norms that may have been recorded before their weight was applied.
    pub normalized: Vec<Site>,
    /// Those that were, with the weight.
    pub weights: BTreeMap<Site, Tensor>,
}

/// The name and the form of an array.
pub(super) type Array = (String, Form);

impl Stored {
    /// A file whose arrays belong to no site yet.
    pub const fn new(arrays: Arrays) -> Self {
        Self {
            arrays,
            sites: BTreeMap::new(),
            twice: Vec::new(),
            activations: BTreeMap::new(),
            caches: BTreeMap::new(),
            normalized: Vec::new(),
            weights: BTreeMap::new(),
        }
    }

    pub fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        self.sites.keys().copied()
    }

    pub fn has(&self, site: Site) -> bool {
        self.sites.contains_key(&site)
    }

    /// The form of the arrays of this kind.
    pub fn form(&self, kind: Kind) -> Option<&Form> {
        self.sites.iter().find(|(site, _)| site.kind == kind).map(|(_, (_, form))| form)
    }

    /// The dtype of the array at `site`.
    pub fn dtype_of(&self, site: Site) -> Option<DType> {
        let (name, _) = self.sites.get(&site)?;
        float(self.arrays.entry(name)?)
    }

    /// The array at `site` as recorded, with its form.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read(&self, site: Site) -> Result<Option<(Tensor, &Form)>> {
        self.sites.get(&site).map_or(Ok(None), |array| self.array(array))
    }

    /// The values of an array as recorded, with its form.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn array<'a>(&self, (name, form): &'a Array) -> Result<Option<(Tensor, &'a Form)>> {
        let Some((entry, dtype)) = self.arrays.entry(name).and_then(|entry| Some((entry, float(entry)?)))
        else {
            return Ok(None);
        };
        let values = self.arrays.values(entry)?;
        Ok(Some((Tensor::from_raw_buffer(&values, dtype, &entry.shape, &Device::Cpu)?, form)))
    }

    /// The dtype that the port computes in: from the metadata, else the most frequent dtype of its sites.
    pub fn dtype(&self, metadata: &BTreeMap<String, String>) -> Result<DType> {
        let named = |name: &str| {
            [DType::F64, DType::F32, DType::F16, DType::BF16].into_iter().find(|d| d.as_str() == name)
        };
        if let Some(name) = metadata.get("dtype") {
            return named(name)
                .ok_or_else(|| self.arrays.fault(format!("unknown dtype `{name}` in the metadata")));
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for dtype in self.sites.values().filter_map(|(name, _)| float(self.arrays.entry(name)?)) {
            *counts.entry(dtype.as_str()).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        Ok(most.and_then(|(name, _)| named(name)).unwrap_or(DType::F32))
    }
}

/// The float type of an array.
pub(super) fn float(entry: &Entry) -> Option<DType> {
    match entry.dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
