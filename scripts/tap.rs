//! Records what your Candle port computes, for `rbees-check run --dump FILE`.
//!
//! Copy this file into your crate (`mod tap;`): it needs nothing but std and the `candle_core` you
//! have, 0.6 or later. Hand it tensors where they are made; nothing happens, and nothing is copied,
//! unless the environment variable RBEES_DUMP names a file:
//!
//! ```ignore
//! tap::tokens(&ids)?;                                   // [s] or [b, s], before the first layer
//! for layer in &self.layers {
//!     …
//!     tap::tap("self_attn.q_rope", &q)?;                // this layer's; or model.layers.0.self_attn.q_rope
//!     …
//!     tap::tap("", &x)?;                                // the block's output: the next layer begins
//! }
//! tap::tap("lm_head", &logits)?;                        // the last site: writes the file
//! ```
//!
//! Sites, their names and shapes are in docs/dump-format.md; any of them will do, the logits alone
//! too. Layers are counted by the ends of their blocks; where these are not tapped, say `tap::layer(i)`.
//! Where `lm_head` is not, call `tap::finish()` after the forward pass. The first pass is recorded:
//! later ones, which begin with other tokens, are not looked at.

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

/// The token ids of this pass, `[s]` or `[b, s]`, of any integer type. Positions count from 0.
pub fn tokens(ids: &Tensor) -> Result<()> {
    tokens_at(ids, 0)
}

/// As [`tokens`], where the first of them has position `offset`: something is in the cache already.
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

/// From here on, names that do not begin with `model.` or `lm_head` are those of layer `number`.
pub fn layer(number: usize) {
    if let Some(mut recorder) = recorder() {
        recorder.layer = number;
    }
}

/// The tensor at `site`, with its batch axis. Its dtype is kept.
pub fn tap(site: &str, tensor: &Tensor) -> Result<()> {
    let Some(mut recorder) = recorder() else { return Ok(()) };
    let name = recorder.name(site);
    let last = name == "lm_head";
    recorder.take(name, tensor)?;
    recorder.layer += usize::from(site.is_empty());
    if last { recorder.write() } else { Ok(()) }
}

/// Writes what was recorded, unless that has been done.
pub fn finish() -> Result<()> {
    recorder().map_or(Ok(()), |mut recorder| recorder.write())
}

/// While there is something to record.
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

    /// The first tensor of a name counts: what follows belongs to a later pass.
    fn take(&mut self, name: String, tensor: &Tensor) -> Result<()> {
        if let Entry::Vacant(place) = self.tensors.entry(name) {
            // A copy of its own: a view of a cache would change under our hands.
            place.insert(tensor.to_device(&Device::Cpu)?.copy()?.contiguous()?);
        }
        Ok(())
    }

    /// Under another name first: nobody ever reads half a dump.
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
