//! Numbered checkpoints for ports of Llama models on Candle: which stage is the first that is wrong?
//!
//! # In your own test
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
//! If the port is wrong, this panics with the first wrong stage, how its values differ, and which mistake
//! causes it. These are the items you need:
//!
//! | | |
//! | --- | --- |
//! | [`Reference`] | opens a case: the input of a forward pass, and the values that it must compute |
//! | [`Check`] | runs your forward pass and compares it; takes your names, axes, dtype and weights |
//! | [`Recorder`](check::Recorder) | the probe: takes a tensor, or plain numbers, by the name of the site |
//! | [`Checked`](check::Checked) | the result: `assert`, `assert_complete`, `report`, `outcomes` |
//! | [`Kind`](probe::Kind) | the kinds of site, with their names |
//! | [`Weights`](weights::Weights) | the model's weights, needed to name mistakes |
//! | [`Error`] | why the port could not be judged: match on its variants, print its [`hint`](Error::hint) |
//!
//! The module [`check`] explains the details; `examples/own_model.rs` is a complete model.
//! `scripts/capture_reference.py` writes references of your own model; those of two tiny models are compiled
//! in, see [`models::fixture`].
//!
//! A model with a cache can be judged by every checkpoint: implement [`port::Port`] for it and put it into
//! [`judge::Subject::ports`], as in `examples/cached_model.rs`. The project's own model is judged like this:
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
//! Everything else is the harness itself. It is public because the program and its tests are separate crates,
//! and it changes when they need it to.
//!
//! # The modules
//!
//! ```text
//! files ─► arrays                            regular files only; reads and writes npy, npz and safetensors
//! weights, tokenizer ─► models ─┐            a model's name → weights, tokenizer, references
//! blocks ─► model                            products with quantised blocks, in one arithmetic on every processor
//! model ─► generate ─► engine   ├─► judge ─► report
//! reference ─► checkpoints ─────┘            runs a port through a checkpoint → verdicts → text
//! record ─► judge                            references from the project's own oracle
//! recording ─► judge, check, dump            the tensors of one pass by site, from a file or from memory
//! dump ─► report                             any port's recorded pass: compared with references, replayed
//! probe, compare                             the interface to models; compares two tensors under a budget
//! graph ─► oracle                            a model's computation as data; in float64 or rounded
//! oracle ─► diagnose ─► judge                recomputes with each known mistake: which one fits?
//! check ─► judge, report                     your own forward pass, in your own test
//! judge, dump ─► bundle                      one failing site, as files that reproduce it
//! mistakes ─► plants ─► selftest             known porting mistakes, planted on purpose to test the harness
//! compare, model ─► bench                    Candle's operations against float64; the speed of a model
//! ```
//!
//! # Terms
//!
//! | term | meaning |
//! | --- | --- |
//! | [site](probe::Site) | one named tensor of the forward pass, named by its Hugging Face module path |
//! | [probe](probe::Probe) | receives each site from a model and returns the tensor that the model continues with |
//! | [reference](reference::Reference) | stored PyTorch values at the sites of one case, and PyTorch's noise there |
//! | [feed](reference::Feed) | where reference tensors are substituted: after every site, at each block's input, never |
//! | [budget](compare::Budget) | how far a row may differ from the reference: scale · (factor · noise + 4 ulp) |
//! | [verdict](judge::Verdict) | the result for one site |
//! | [checkpoint](checkpoints::Checkpoint) | a numbered stage: its sites, feeds, factor and reason |
//! | [port](port::Port) | a model that can be judged |
//! | [recording](recording::Recording) | the tensors of one pass, by site |
//! | [graph](graph::of) | a model's computation as data: one node per site |
//! | [oracle](oracle::Executor) | computes the graph in float64, or rounded to a dtype |
//! | [diagnosis](diagnose::diagnose) | the mistakes that reproduce a wrong tensor when it is recomputed with them |

mod arrays;
pub mod bench;
mod blocks;
pub mod bundle;
pub mod check;
#[path = "../checkpoints/mod.rs"]
pub mod checkpoints;
pub mod compare;
pub mod diagnose;
pub mod dump;
pub mod engine;
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
pub mod record;
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
