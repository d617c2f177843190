//! Numbered checkpoints for Llama ports on Candle: which stage is the first that is wrong?
//!
//! # The map
//!
//! ```text
//! weights, tokenizer ─► models ─┐            a name → weights, tokenizer, references
//! model ─► generate             ├─► judge ─► report
//! reference ─► checkpoints ─────┘            drives a port through a checkpoint → verdicts → text
//! probe, compare                             the seam, and two tensors under a budget
//! oracle ─► suspects ─► judge                the float64 Llama, right and under each known mistake
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
//! | [oracle](oracle::forward) | the plain float64 Llama |
//! | [suspect](suspects::diagnose) | one known porting mistake: what the tensor would be under it |
//!
//! # In short
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
//! To judge another port, implement [`port::Port`] for it and put it into [`judge::Subject::ports`].

pub mod check;
#[path = "../checkpoints/mod.rs"]
pub mod checkpoints;
pub mod compare;
pub mod error;
pub mod generate;
pub mod judge;
pub mod mistakes;
pub mod model;
pub mod models;
pub mod oracle;
pub mod plants;
pub mod port;
pub mod probe;
pub mod reference;
pub mod report;
pub mod selftest;
pub mod suspects;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, Result};
