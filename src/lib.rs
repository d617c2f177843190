//! Numbered checkpoints for Llama ports on Candle: which stage is the first that is wrong?
//!
//! # In a test of your own
//!
//! ```
//! use rbees_check::{Check, Reference};
//! # use candle_core::{DType, Device, Tensor};
//! # use rbees_check::{Result, check::Recorder, model::{Attention, Input, Llama}, models, reference::Batch};
//! # struct Mine(Llama);
//! # impl Mine {
//! #     fn forward(&self, tokens: &Batch, mut probe: &mut Recorder) -> Result<Tensor> {
//! #         let ids: Vec<Vec<u32>> = tokens.ids.to_vec2()?;
//! #         self.0.forward(&Input::single(&ids[0], 0), &mut self.0.new_cache(), &mut probe)
//! #     }
//! # }
//! # let weights = models::open("tiny-llama")?.weights;
//! # let my_model = Mine(Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain)?);
//!
//! let reference = Reference::open("fixtures/tiny-llama/short")?;
//! Check::against(&reference)
//!     .run(|probe| my_model.forward(reference.tokens(), probe))?
//!     .assert();
//! # Ok::<(), rbees_check::Error>(())
//! ```
//!
//! Where the port is wrong, this panics with the first wrong stage, how it is wrong, and which mistake it
//! was. What you need is little:
//!
//! | | |
//! | --- | --- |
//! | [`Reference`] | opens a case: what a forward is given, and what it must compute |
//! | [`Check`] | runs your forward against it; is told names, axes, dtype, weights |
//! | [`Recorder`](check::Recorder) | the probe: takes a tensor, or plain numbers, by their site's name |
//! | [`Checked`](check::Checked) | what became of it: `assert`, `assert_complete`, `report`, `outcomes` |
//! | [`Kind`](probe::Kind) | the sites, by the names that they are tapped under |
//! | [`Weights`](weights::Weights) | the model's weights, by which mistakes are named |
//! | [`Error`] | why it could not be judged: match on its variants, print its [`hint`](Error::hint) |
//!
//! [`check`] says how; `examples/own_model.rs` is a whole model. References of your own model are written by
//! `scripts/capture_reference.py`; those of two tiny models are compiled in, see [`models::fixture`].
//!
//! A model with a cache is judged further, by every checkpoint: implement [`port::Port`] for it, and put it
//! into [`judge::Subject::ports`], as `examples/cached_model.rs` does. The project's own is judged like this:
//!
//! ```
//! use candle_core::{DType, Device};
//! use rbees_check::judge::{self, Status, Subject};
//! use rbees_check::{checkpoints, model::Attention, models};
//!
//! let model = models::open("tiny-llama")?;
//! let mut subject = Subject::new(&model, &["single".into()], &Device::Cpu, DType::F32, &[Attention::Plain])?;
//! let outcome = judge::run(&mut subject, checkpoints::find("1B").unwrap())?;
//! assert_eq!(outcome.status(), Status::Passed);
//! # Ok::<(), rbees_check::Error>(())
//! ```
//!
//! All else is the harness itself. It is public because the program and its tests are crates of their own,
//! and changes as they need it.
//!
//! # The map
//!
//! ```text
//! files ─► arrays                            regular files only; npy, npz and safetensors, read and written
//! weights, tokenizer ─► models ─┐            a name → weights, tokenizer, references
//! model ─► generate             ├─► judge ─► report
//! reference ─► checkpoints ─────┘            drives a port through a checkpoint → verdicts → text
//! recording ─► judge, check, dump            the tensors of one pass by site, from a file or from memory
//! dump ─► report                             a pass that any port recorded: truth, and replay
//! probe, compare                             the seam, and two tensors under a budget
//! graph ─► oracle                            what a model computes, as data; computed in float64, or rounded
//! oracle ─► diagnose ─► judge                the same under each known mistake: which one was it?
//! check ─► judge, report                     a forward pass of your own, in a test of your own
//! judge, dump ─► bundle                      one red site as files that show it again
//! mistakes ─► plants ─► selftest             what ports do wrong, made for real, and caught
//! ```
//!
//! # The words
//!
//! | word | means |
//! | --- | --- |
//! | [site](probe::Site) | one named tensor of the forward pass, by its Hugging Face module path |
//! | [probe](probe::Probe) | what a model hands each site to; it returns the one the model goes on with |
//! | [reference](reference::Reference) | stored truth at the sites of one case, and PyTorch's noise there |
//! | [feed](reference::Feed) | where truth enters: after every site, at each block's input, nowhere |
//! | [budget](compare::Budget) | how far from truth a row may be: scale · (factor · noise + 4 ulp) |
//! | [verdict](judge::Verdict) | what became of one site |
//! | [checkpoint](checkpoints::Checkpoint) | a numbered stage: its sites, feeds, factor and reason |
//! | [port](port::Port) | a model that can be judged |
//! | [recording](recording::Recording) | the tensors of one pass, by site |
//! | [graph](graph::llama) | what a model computes, as data: one node per site |
//! | [oracle](oracle::Executor) | computes the graph in float64, or rounded to a dtype |
//! | [diagnosis](diagnose::diagnose) | the mistakes that reproduce a wrong tensor, each computed again |

mod arrays;
pub mod bundle;
pub mod check;
#[path = "../checkpoints/mod.rs"]
pub mod checkpoints;
pub mod compare;
pub mod diagnose;
pub mod dump;
pub mod error;
#[doc(hidden)]
pub mod files;
pub mod generate;
pub mod graph;
pub mod judge;
pub mod mistakes;
pub mod model;
pub mod models;
pub mod oracle;
#[doc(hidden)]
pub mod plants;
pub mod port;
pub mod probe;
pub mod recording;
pub mod reference;
pub mod report;
#[doc(hidden)]
pub mod selftest;
pub mod tokenizer;
pub mod weights;

pub use check::Check;
pub use error::{Error, Result};
pub use reference::Reference;
