//! The arguments that `run` and `generate` have in common.

use clap::{ArgAction, Args};
use rbees_check::Result;
use rbees_check::models::{self, Model};

use super::choices::Dtype;
use super::settings::Settings;
use super::stderr::say;

/// The model that is meant where none is named.
pub const DEFAULT_MODEL: &str = "tiny-llama";

/// What `run` and `generate` have in common.
#[derive(Args, Debug)]
pub struct Common {
    /// tiny-llama, tiny-llama2, smollm2-135m, a .gguf file, or a Hugging Face directory [default:
    /// tiny-llama]
    #[arg(long, value_name = "NAME|PATH")]
    pub model: Option<String>,
    /// Judge it by the references of this model, or by those in a folder [default: its own]
    #[arg(long, value_name = "NAME|DIR")]
    pub references: Option<String>,
    /// cpu, cuda[:N], metal[:N], or auto: the best that is compiled in and present
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub device: String,
    /// What the model computes in [default: f32]
    #[arg(long, value_name = "TYPE", value_enum)]
    pub dtype: Option<Dtype>,
    /// Threads to compute with; all cores by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Say more: the worst site of each checkpoint; twice, every site
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Common {
    /// The model that was asked for, with the references that were.
    pub fn open(&self) -> Result<Model> {
        let mut model = models::open(self.model())?;
        if let Some(name) = &self.references {
            model.fixture = Some(models::references(name)?);
        }
        Ok(model)
    }

    /// What the flags leave open is as the settings say.
    pub fn settle(&mut self, settings: &Settings) {
        if let (Some(file), 1..) = (&settings.file, self.verbose) {
            say(&format!("settings: {}", file.display()));
        }
        self.model = self.model.take().or_else(|| settings.model.clone());
        self.references = self.references.take().or_else(|| settings.references.clone());
        self.dtype = self.dtype.or(settings.dtype);
    }

    pub fn model(&self) -> &str {
        self.model.as_deref().unwrap_or(DEFAULT_MODEL)
    }

    pub fn dtype(&self) -> candle_core::DType {
        self.dtype.unwrap_or(Dtype::F32).into()
    }
}
