//! `--reference oracle`: a case that the project's own oracle computes from a prompt.

use candle_core::DType;
use clap::{Args, ValueEnum};
use rbees_check::model::Matmul;
use rbees_check::models::Model;
use rbees_check::record::{OwnCase, Tokens};
use rbees_check::reference::Reference;
use rbees_check::{Error, Result};

use super::rerun::Flags;

#[derive(Args, Debug)]
pub struct OwnOracle {
    /// Compare with values that this program computes itself, for a model without references; what agrees is printed
    /// as OWN, not as PASS
    #[arg(long, value_name = "SOURCE", value_enum, requires = "prompt", conflicts_with_all = ["references", "cases", "dump"])]
    reference: Option<Source>,
    /// With --reference oracle: the text to run the model on
    #[arg(long, value_name = "TEXT", requires = "reference", conflicts_with_all = ["references", "cases", "dump"])]
    prompt: Option<String>,
    /// With --reference oracle: hold only one layer in memory, for a model or a prompt that is too large; checks dense
    /// products only
    #[arg(long, requires = "reference", conflicts_with_all = ["references", "cases", "dump", "shard", "bundle"])]
    stream: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Source {
    Oracle,
}

impl OwnOracle {
    /// The prompt, if the project's own oracle must compute the references.
    pub fn prompt(&self) -> Option<&str> {
        self.reference.and(self.prompt.as_deref())
    }

    /// The prompt, if the model must be judged stage by stage.
    pub fn streamed(&self) -> Option<&str> {
        self.prompt().filter(|_| self.stream)
    }

    /// Adds the flags that compute the same references again.
    pub fn flags(&self, flags: &mut Flags) {
        flags.choice("reference", self.reference);
        flags.switch("stream", self.stream);
        self.prompt.iter().for_each(|prompt| flags.text("prompt", prompt));
    }
}

/// The ids of a prompt.
///
/// # Errors
/// The model has no tokenizer, or the prompt does not fit into its context.
pub fn ids(model: &Model, prompt: &str) -> Result<Vec<u32>> {
    let ids = model.tokenizer()?.encode(prompt, true)?;
    let context = model.weights.config().max_position_embeddings;
    if ids.len() > context {
        let what =
            format!("the prompt has {} tokens, but the context of this model has {context}", ids.len());
        return Err(Error::input(what, "give a shorter prompt"));
    }
    Ok(ids)
}

/// Computes a case for `prompt`, with noise in these dtypes and for these matmuls.
///
/// # Errors
/// Those of [`ids`], or its weights cannot be read.
pub fn case(model: &Model, prompt: &str, dtypes: Vec<DType>, matmuls: &[Matmul]) -> Result<Reference> {
    let tokens = Tokens::prompt(&ids(model, prompt)?)?;
    let case = OwnCase::of_prompt(&model.weights, &model.name, tokens, dtypes);
    if matmuls.contains(&Matmul::Quantized) { case.on_blocks().compute() } else { case.compute() }
}
