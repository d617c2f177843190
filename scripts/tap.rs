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
//! you do not tap `lm_head`, call `tap::finish()` after the forward pass.
//!
//! Only the first pass is recorded, unless RBEES_DUMP_PASSES says which: `3`, `1-4`, `0,3` or `all`, counted from
//! 0. Then RBEES_DUMP names a directory, and pass N is written to DIR/pass-N.safetensors. A pass begins with
//! `tap::tokens` or `tap::tokens_at`. If you record a single decode step, tap the cache before the step too:
//! `tap::tap("self_attn.past_key", &k)`, `tap::tap("self_attn.past_value", &v)`, `[b, kv_heads, cached, head_dim]`.
//!
//! `tap::unrecorded(|| model.forward(&ids))`, before the recorded pass, stores the logits of a run that the recorder
//! does not see, for example with a fused kernel: `run --dump` compares them with the recorded ones.

#![allow(dead_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

use candle_core::{DType, Device, Result, Tensor};

struct Recorder {
    file: PathBuf,
    /// Which passes are recorded; only the first, into `file` itself, if RBEES_DUMP_PASSES is not set.
    passes: Option<Vec<(usize, usize)>>,
    /// The number of the present pass.
    pass: usize,
    /// Has the present pass begun?
    begun: bool,
    paused: bool,
    layer: usize,
    tensors: HashMap<String, Tensor>,
}

/// Records the token ids of this pass, `[s]` or `[b, s]`, of any integer type. Positions count from 0.
pub fn tokens(ids: &Tensor) -> Result<()> {
    tokens_at(ids, 0)
}

/// Like [`tokens`], but the first id has position `offset`, because the cache already holds tokens.
pub fn tokens_at(ids: &Tensor, offset: usize) -> Result<()> {
    let Some(mut recorder) = recorder() else { return Ok(()) };
    if recorder.begun {
        recorder.end()?; // the pass before is over
    }
    recorder.begun = true;
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
    if last { recorder.end() } else { Ok(()) }
}

/// Stores the logits that `run` returns, `[b, s, vocab]`. What it taps is not recorded. Without RBEES_DUMP it is not
/// called.
pub fn unrecorded(run: impl FnOnce() -> Result<Tensor>) -> Result<()> {
    let Some(mut locked) = recorder() else { return Ok(()) };
    locked.paused = true;
    drop(locked);
    let logits = run();
    let Some(recorder) = started() else { return Ok(()) };
    let mut recorder = recorder.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    recorder.paused = false;
    recorder.take("unrecorded.logits".into(), &logits?)
}

/// Writes the recording, unless it has already been written.
pub fn finish() -> Result<()> {
    recorder().map_or(Ok(()), |mut recorder| recorder.end())
}

/// The recorder, while there is something to record.
fn recorder() -> Option<MutexGuard<'static, Recorder>> {
    let recorder = started()?.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    (!recorder.paused && !recorder.is_over()).then_some(recorder)
}

/// The recorder, if RBEES_DUMP is set.
fn started() -> Option<&'static Mutex<Recorder>> {
    static RECORDER: OnceLock<Option<Mutex<Recorder>>> = OnceLock::new();
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let new = || {
        let passes = set("RBEES_DUMP_PASSES").map(|passes| ranges(&passes.to_string_lossy()));
        let (file, tensors) = (set("RBEES_DUMP")?.into(), HashMap::new());
        Some(Mutex::new(Recorder { file, passes, pass: 0, begun: false, paused: false, layer: 0, tensors }))
    };
    RECORDER.get_or_init(new).as_ref()
}

/// The first and the last pass of each part of `0,3-5`; every pass for `all`. A part that is no number names none.
fn ranges(text: &str) -> Vec<(usize, usize)> {
    if text == "all" {
        return vec![(0, usize::MAX)];
    }
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = first.trim().parse().ok().zip(last.trim().parse().ok());
        if range.is_none() {
            eprintln!("tap.rs: RBEES_DUMP_PASSES is `{text}`, not a number, a range such as 1-4, or all");
        }
        range
    };
    text.split(',').filter_map(part).collect()
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

    /// Is the present pass recorded?
    fn wants_pass(&self) -> bool {
        match &self.passes {
            None => self.pass == 0,
            Some(ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&self.pass)),
        }
    }

    /// Will no later pass be recorded?
    fn is_over(&self) -> bool {
        match &self.passes {
            None => self.pass > 0,
            Some(ranges) => ranges.iter().all(|(_, last)| self.pass > *last),
        }
    }

    /// Keeps only the first tensor with a name.
    fn take(&mut self, name: String, tensor: &Tensor) -> Result<()> {
        if !self.wants_pass() {
            return Ok(());
        }
        if let Entry::Vacant(place) = self.tensors.entry(name) {
            // Copied, because a view of a cache would change later.
            place.insert(tensor.to_device(&Device::Cpu)?.copy()?.contiguous()?);
        }
        Ok(())
    }

    /// Ends the present pass: writes it, if it is recorded.
    fn end(&mut self) -> Result<()> {
        let file = match &self.passes {
            None => self.file.clone(),
            Some(_) => self.file.join(format!("pass-{}.safetensors", self.pass)),
        };
        let recorded = self.wants_pass() && !self.tensors.is_empty();
        let written = if recorded { self.write(file) } else { Ok(()) };
        self.tensors.clear();
        (self.pass, self.begun, self.layer) = (self.pass + 1, false, 0);
        written
    }

    /// Writes to a temporary name and renames, so that nobody reads an incomplete file.
    fn write(&self, file: PathBuf) -> Result<()> {
        if let (Some(_), Some(folder)) = (&self.passes, file.parent()) {
            std::fs::create_dir_all(folder)?;
        }
        let hidden = format!(".{}.partial", file.file_name().unwrap_or_default().to_string_lossy());
        let partial = file.with_file_name(hidden);
        candle_core::safetensors::save(&self.tensors, &partial)?;
        std::fs::rename(&partial, &file)?;
        Ok(())
    }
}
