//! Records what your Candle port computes, for `rbees-check run --dump FILE`.
//!
//! Copy this file into your crate (`mod tap;`). It needs only std and the `candle_core` that you already use,
//! 0.6 or later. Pass it each tensor where your code computes it. It does nothing, and copies nothing, unless
//! the environment variable RBEES_DUMP names a file:
//!
//! ```ignore
//! tap::tokens(&ids)?;                                   // [s] or [b, s], before the first layer
//! for layer in &self.layers {
//!     …
//!     tap::tap("self_attn.q_rope", &q)?;                // of the current layer; or model.layers.0.self_attn.q_rope
//!     …
//!     tap::tap("", &x)?;                                // the block's output; the next layer begins
//! }
//! tap::tap("lm_head", &logits)?;                        // the last site; writes the file
//! ```
//!
//! docs/dump-format.md lists the sites with their names and shapes; any subset of them works, even the logits
//! alone. Layers are counted by the taps of block outputs; if you do not tap these, call `tap::layer(i)`. If
//! you do not tap `lm_head`, call `tap::finish()` after the forward pass. Only the first pass is recorded;
//! later passes, which begin with other tokens, are ignored.

#![allow(dead_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

use candle_core::{DType, Device, Result, Tensor};

struct Recorder {
    file: PathBuf,
    layer: usize,
    tensors: HashMap<String, Tensor>,
    written: bool,
}

/// Records the token ids of this pass, `[s]` or `[b, s]`, of any integer type. Positions count from 0.
pub fn tokens(ids: &Tensor) -> Result<()> {
    tokens_at(ids, 0)
}

/// Like [`tokens`], but the first id has position `offset`, because the cache already holds tokens.
pub fn tokens_at(ids: &Tensor, offset: usize) -> Result<()> {
    let Some(mut recorder) = recorder() else { return Ok(()) };
    if recorder.tensors.contains_key("input_ids") {
        return recorder.write(); // the first pass is over
    }
    let ids = if ids.rank() == 1 { ids.unsqueeze(0)? } else { ids.clone() }; // [b, s]
    let (b, s) = ids.dims2()?;
    let positions: Vec<i64> = (0..b).flat_map(|_| (0..s).map(|i| (offset + i) as i64)).collect();
    recorder.take("input_ids".into(), &ids.to_dtype(DType::I64)?)?;
    recorder.take("position_ids".into(), &Tensor::from_vec(positions, (b, s), &Device::Cpu)?)
}

/// Sets the current layer, which names that do not begin with `model.` or `lm_head` refer to.
pub fn layer(number: usize) {
    if let Some(mut recorder) = recorder() {
        recorder.layer = number;
    }
}

/// Records the tensor at `site`, with its batch axis, in its own dtype.
pub fn tap(site: &str, tensor: &Tensor) -> Result<()> {
    let Some(mut recorder) = recorder() else { return Ok(()) };
    let name = recorder.name(site);
    let last = name == "lm_head";
    recorder.take(name, tensor)?;
    recorder.layer += usize::from(site.is_empty());
    if last { recorder.write() } else { Ok(()) }
}

/// Writes the recording, unless it has already been written.
pub fn finish() -> Result<()> {
    recorder().map_or(Ok(()), |mut recorder| recorder.write())
}

/// The recorder, while there is something to record.
fn recorder() -> Option<MutexGuard<'static, Recorder>> {
    static RECORDER: OnceLock<Option<Mutex<Recorder>>> = OnceLock::new();
    let new = |file: PathBuf| Recorder { file, layer: 0, tensors: HashMap::new(), written: false };
    let started = || env::var_os("RBEES_DUMP").filter(|f| !f.is_empty()).map(|f| Mutex::new(new(f.into())));
    let recorder = RECORDER.get_or_init(started).as_ref()?;
    let recorder = recorder.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    (!recorder.written).then_some(recorder)
}

impl Recorder {
    fn name(&self, site: &str) -> String {
        match site {
            "" => format!("model.layers.{}", self.layer),
            "lm_head" => site.to_owned(),
            _ if site.starts_with("model.") => site.to_owned(),
            _ => format!("model.layers.{}.{site}", self.layer),
        }
    }

    /// Keeps only the first tensor with a name: later ones belong to later passes.
    fn take(&mut self, name: String, tensor: &Tensor) -> Result<()> {
        if let Entry::Vacant(place) = self.tensors.entry(name) {
            // Copied, because a view of a cache would change later.
            place.insert(tensor.to_device(&Device::Cpu)?.copy()?.contiguous()?);
        }
        Ok(())
    }

    /// Writes to a temporary name and renames, so that nobody reads an incomplete file.
    fn write(&mut self) -> Result<()> {
        self.written = true;
        let mut partial = self.file.clone().into_os_string();
        partial.push(".partial");
        candle_core::safetensors::save(&self.tensors, &partial)?;
        std::fs::rename(&partial, &self.file)?;
        self.tensors.clear();
        Ok(())
    }
}
