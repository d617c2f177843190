//! Checks your own forward pass against a reference, in your own test.
//!
//! ```no_run
//! # fn forward(_: &rbees_check::reference::Batch, _: &mut rbees_check::check::Recorder) -> rbees_check::Result<()> { Ok(()) }
//! use rbees_check::{Check, Reference};
//!
//! let reference = Reference::open("fixtures/tiny-llama/short")?;
//! Check::against(&reference)
//!     .run(|probe| forward(reference.tokens(), probe))?
//!     .assert();
//! # Ok::<(), rbees_check::Error>(())
//! ```
//!
//! The closure runs one forward pass over all tokens of the reference, from an empty cache, and hands each
//! tensor to be judged to the [`Recorder`], by its Hugging Face name:
//!
//! ```no_run
//! # use candle_core::{Result, Tensor};
//! # fn block(mut x: Tensor, weight: Tensor, i: usize, probe: &mut rbees_check::check::Recorder) -> Result<Tensor> {
//! let gate = x.broadcast_matmul(&weight.t()?)?;
//! let gate = probe.tap(format_args!("model.layers.{i}.mlp.gate_proj"), gate)?; // continue with this tensor
//! # Ok(gate)
//! # }
//! ```
//!
//! The closure runs once per feed: on the port's own values; with reference tensors returned at every site,
//! so that each operation is judged separately; and with reference tensors at the block inputs.
//! [`tap_raw`](Recorder::tap_raw) returns nothing. A port that uses it is judged on its own values only: its
//! first wrong site is reliable, and all later failures are consequences of it.
//!
//! A kind of site that the port never hands over is not judged, and [`Checked::report`] says so;
//! [`Checked::assert_complete`] requires all kinds that the reference stores. A kind that is handed over in
//! one layer must be handed over in all. One forward pass does not cover a cache, sampling and text: for
//! those, implement [`Port`](crate::port::Port).
//!
//! If a model's crate has this crate only as a dev-dependency, the model takes a closure instead of a
//! recorder:
//!
//! ```
//! # use candle_core::{Device, DType, Result, Tensor};
//! # use rbees_check::{Check, Reference};
//! /// In the model: `&mut |_, tensor| Ok(tensor)` in production.
//! type Tap<'a> = &'a mut dyn FnMut(&str, Tensor) -> Result<Tensor>;
//! # fn forward(ids: &Tensor, tap: Tap) -> Result<Tensor> {
//! #     tap("model.norm", Tensor::zeros((1, 13, 128), DType::F32, &Device::Cpu)?)
//! # }
//! # let reference = Reference::open("fixtures/tiny-llama/short")?;
//! # let tokens = reference.tokens();
//! // In the test:
//! let checked = Check::against(&reference)
//!     .run(|probe| forward(&tokens.ids, &mut |name, tensor| Ok(probe.tap(name, tensor)?)))?;
//! # assert!(!checked.passed());
//! # Ok::<(), rbees_check::Error>(())
//! ```

mod checked;
mod hints;
mod judged;
mod judging;
mod kinds;
mod recorder;
mod runs;
mod turned;

pub use checked::Checked;
pub use recorder::Recorder;

use candle_core::DType;

use crate::judge::{Traits, all_judged};
use crate::probe::{Arithmetic, Kind, Layout, Site};
use crate::recording::Vocabulary;
use crate::reference::{Feed, Reference};
use crate::weights::Weights;
use crate::{Error, Result};
use runs::RecordedRun;

/// One forward pass of a port, to be compared with a reference.
#[must_use = "nothing is judged before `run`"]
pub struct Check<'a> {
    case: &'a Reference,
    weights: Option<&'a Weights>,
    dtype: DType,
    arithmetic: Arithmetic,
    interleaved: bool,
    vocabulary: Vocabulary,
    fault: Option<Error>,
}

impl<'a> Check<'a> {
    /// Compares with this case, by default in f32, with dense arithmetic, and with Hugging Face's names and
    /// axes.
    pub fn against(reference: &'a Reference) -> Self {
        Self {
            case: reference,
            weights: None,
            dtype: DType::F32,
            arithmetic: Arithmetic::Dense,
            interleaved: false,
            vocabulary: Vocabulary::default(),
            fault: None,
        }
    }

    /// The model's weights, which are needed to name mistakes. For models that this crate knows, it finds
    /// them itself.
    pub fn weights(mut self, weights: &'a Weights) -> Self {
        self.weights = Some(weights);
        self
    }

    /// Sets the dtype that the port computes in: f32, bf16 or f16.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The port multiplies by quantised weights, and therefore rounds activations.
    pub fn arithmetic(mut self, arithmetic: Arithmetic) -> Self {
        self.arithmetic = arithmetic;
        self
    }

    /// The rows of q and k are in the order of GGUF llama files, with i and i + head_dim/2 of each head side
    /// by side. This applies to `q_proj`, `k_proj`, `q_rope` and `k_rope`.
    pub fn interleaved(mut self) -> Self {
        self.interleaved = true;
        self
    }

    /// Sets the port's name for sites of `kind`, with `{}` for the layer: `rename("blk.{}.attn_q",
    /// Kind::QProj)`.
    pub fn rename(mut self, theirs: &str, kind: Kind) -> Self {
        let renamed = self.vocabulary.rename(theirs, kind);
        self.settle(renamed)
    }

    /// Sets the axes of the port's tensors of `kind`, one letter each: `b` batch, `s` positions, `h` heads,
    /// `d` head_dim, `w` width, `t` keys. `axes(Kind::QRope, "b s h d")` if heads come after positions, `"b s
    /// w"` if they are not split; `axes(Kind::Context, "b h s d")` if heads are not merged yet; `"b s h d"`
    /// for a projection that is already split. A batch of one needs no axis: `"s h d"`.
    pub fn axes(mut self, kind: Kind, axes: &str) -> Self {
        let named = self.vocabulary.axes(kind, axes);
        self.settle(named)
    }

    /// Stores the first error, which [`Check::run`] returns.
    fn settle(mut self, done: Result<()>) -> Self {
        self.fault = self.fault.or(done.err());
        self
    }

    /// Runs `forward` once per feed and judges what it hands over. Its return value is ignored; an error that
    /// it returns is a verdict, unless it misused the recorder.
    ///
    /// # Errors
    /// Names or axes are invalid; the recorder was misused; the reference has no data for this dtype or
    /// arithmetic; or the port keeps tokens from one run to the next.
    pub fn run<T, E>(self, mut forward: impl FnMut(&mut Recorder<'_>) -> Result<T, E>) -> Result<Checked>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let traits = self.traits()?;
        all_judged(self.case, &traits)?;
        let mut run = |feed: Feed| {
            let mut recorder = Recorder::new(self.case, &self.vocabulary, &traits, feed);
            let error = forward(&mut recorder).err().map(Into::into);
            RecordedRun::new(recorder.into_tape(), error)
        };
        let runs = runs::all(&mut run)?;
        judged::judge_runs(self.case, traits.clone(), runs, self.weights)
    }

    fn traits(&self) -> Result<Traits> {
        if ![DType::F32, DType::BF16, DType::F16].contains(&self.dtype) {
            let what = format!("{}: no noise was measured in this dtype", self.dtype.as_str());
            return Err(Error::input(what, "use f32, bf16 or f16"));
        }
        let (rope, rows) = ([Kind::QRope, Kind::KRope], |site| self.case.rows(site));
        let mut stored = self.case.sites().filter(|site| rope.contains(&site.kind));
        let head_dim = stored.next().and_then(|site| rows(site)?.row_shape.last().copied());
        let layouts = match (self.interleaved, head_dim) {
            (false, _) | (true, None) => vec![],
            (true, Some(head_dim)) => {
                let turned = Kind::ALL.iter().filter(|kind| kind.has_rotated_columns());
                turned.map(|&kind| (kind, Layout::Interleaved { head_dim })).collect()
            }
        };
        let last = self.case.sites().filter_map(|Site { layer, .. }| layer).max();
        Ok(Traits {
            path: "your port",
            arithmetic: self.arithmetic,
            dtype: self.dtype,
            layers: last.map_or(0, |layer| usize::from(layer) + 1),
            kinds: self.case.sites().map(|site| site.kind).collect(),
            vocab: 0,
            context: 0,
            hides: &[],
            layouts,
        })
    }
}
