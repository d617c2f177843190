//! Your own forward pass against a reference, in a test of your own.
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
//! The closure runs one forward pass over all tokens of the reference, from an empty cache, and hands
//! each tensor that is to be judged to the [`Recorder`], by its Hugging Face name:
//!
//! ```no_run
//! # use candle_core::{Result, Tensor};
//! # fn block(mut x: Tensor, weight: Tensor, i: usize, probe: &mut rbees_check::check::Recorder) -> Result<Tensor> {
//! let gate = x.broadcast_matmul(&weight.t()?)?;
//! let gate = probe.tap(format_args!("model.layers.{i}.mlp.gate_proj"), gate)?; // go on with what comes back
//! # Ok(gate)
//! # }
//! ```
//!
//! It is run once for every feed: on its own values; with truth coming back at every site, so that each
//! operation is judged alone; with truth at the block inputs. What is handed over by
//! [`tap_raw`](Recorder::tap_raw) takes nothing back: such a port is judged on its own values, where the
//! first wrong site is to be trusted and all behind it are its consequences.
//!
//! A kind of site that the port never hands over is not judged, and [`Checked::report`] says so;
//! [`Checked::assert_complete`] demands all that the reference stores. A kind that is handed over in one
//! layer must be in all. A cache, sampling and text are no matter of one forward pass: for them
//! implement [`Port`](crate::port::Port).
//!
//! A model in a crate that has this one as a dev-dependency only takes a closure, and not a recorder:
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

use crate::judge::{Traits, all_claimed};
use crate::probe::{Arithmetic, Kind, Layout, Site};
use crate::recording::Vocabulary;
use crate::reference::{Feed, Reference};
use crate::weights::Weights;
use crate::{Error, Result};
use runs::Run;

/// One forward pass of a port, to be held against a reference.
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
    /// Against this case: in f32, dense, with the names and the axes of Hugging Face.
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

    /// The model's weights, by which mistakes are named. Those of the models that this crate knows it
    /// finds itself.
    pub fn weights(mut self, weights: &'a Weights) -> Self {
        self.weights = Some(weights);
        self
    }

    /// The port computes in `dtype`: f32, bf16 or f16.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The port multiplies with quantised weights, and so rounds activations.
    pub fn arithmetic(mut self, arithmetic: Arithmetic) -> Self {
        self.arithmetic = arithmetic;
        self
    }

    /// The rows of q and k lie as GGUF llama files have them, i and i + head_dim/2 of each head side by
    /// side: `q_proj`, `k_proj`, `q_rope` and `k_rope`.
    pub fn interleaved(mut self) -> Self {
        self.interleaved = true;
        self
    }

    /// What the port calls sites of `kind`, `{}` standing for the layer: `rename("blk.{}.attn_q",
    /// Kind::QProj)`.
    pub fn rename(mut self, theirs: &str, kind: Kind) -> Self {
        let renamed = self.vocabulary.rename(theirs, kind);
        self.settle(renamed)
    }

    /// How the axes of sites of `kind` lie in the port, a letter each: `b` batch, `s` positions, `h` heads,
    /// `d` head_dim, `w` width, `t` keys. `axes(Kind::QRope, "b s h d")` where heads come after positions,
    /// `"b s w"` where they are not split; `axes(Kind::Context, "b h s d")` before they are merged;
    /// `"b s h d"` of a projection, split already. A batch of one needs no axis: `"s h d"`.
    pub fn axes(mut self, kind: Kind, axes: &str) -> Self {
        let named = self.vocabulary.axes(kind, axes);
        self.settle(named)
    }

    /// Keeps the first fault for [`Check::run`] to return.
    fn settle(mut self, done: Result<()>) -> Self {
        self.fault = self.fault.or(done.err());
        self
    }

    /// Runs `forward` once for every feed and judges what it hands over. What it returns is not looked
    /// at; an error that it returns is a verdict, unless it misused the recorder.
    ///
    /// # Errors
    /// Names or axes that mean nothing; a recorder that was misused; a reference that cannot judge this
    /// dtype or arithmetic; a port that keeps tokens from one run to the next.
    pub fn run<T, E>(self, mut forward: impl FnMut(&mut Recorder<'_>) -> Result<T, E>) -> Result<Checked>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let traits = self.traits()?;
        all_claimed(self.case, &traits)?;
        let mut run = |feed: Feed| {
            let mut recorder = Recorder::new(self.case, &self.vocabulary, &traits, feed);
            let error = forward(&mut recorder).err().map(Into::into);
            Run::new(recorder.into_tape(), error)
        };
        let runs = runs::all(&mut run)?;
        judged::judge(self.case, traits.clone(), runs, self.weights)
    }

    fn traits(&self) -> Result<Traits> {
        if ![DType::F32, DType::BF16, DType::F16].contains(&self.dtype) {
            let what = format!("{}: no noise is measured in it", self.dtype.as_str());
            return Err(Error::input(what, "judge in f32, bf16 or f16"));
        }
        let (rope, truth) = ([Kind::QRope, Kind::KRope], |site| self.case.truth(site));
        let mut stored = self.case.sites().filter(|site| rope.contains(&site.kind));
        let head_dim = stored.next().and_then(|site| truth(site)?.row_shape.last().copied());
        let layouts = match (self.interleaved, head_dim) {
            (false, _) | (true, None) => vec![],
            (true, Some(head_dim)) => {
                kinds::INTERLEAVED.map(|kind| (kind, Layout::Interleaved { head_dim })).into()
            }
        };
        let last = self.case.sites().filter_map(|Site { layer, .. }| layer).max();
        Ok(Traits {
            path: "your port",
            arithmetic: self.arithmetic,
            dtype: self.dtype,
            layers: last.map_or(0, |layer| usize::from(layer) + 1),
            vocab: 0,
            context: 0,
            hides: &[],
            layouts,
        })
    }
}
