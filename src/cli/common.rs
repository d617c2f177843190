//! Arguments that `run` and `generate` share.

use clap::{ArgAction, Args};
use rbees_check::models::{self, Model};
use rbees_check::tokenizer::Tokenizer;
use rbees_check::{Error, Result};

use super::choices::Dtype;
use super::escape::escaped;
use super::settings::Settings;
use super::stderr::say;

/// The model that is used if none is named.
pub const DEFAULT_MODEL: &str = "tiny-llama";

/// Arguments that `run` and `generate` share.
#[derive(Args, Debug)]
pub struct Common {
    /// Model to use: tiny-llama, tiny-llama2, smollm2-135m, a .gguf file, a Hugging Face directory, or (with the
    /// feature `hub`) hf:owner/name[@revision][:file.gguf]
    /// [default: tiny-llama]
    #[arg(long, value_name = "NAME|PATH")]
    pub model: Option<String>,
    /// Use the references of this model, or those in a folder [default: the model's own]
    #[arg(long, value_name = "NAME|DIR")]
    pub references: Option<String>,
    /// Device to run on: cpu, cuda[:N], metal[:N], or auto (the best one that is compiled in and present)
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub device: String,
    /// Data type that the model computes in [default: f32]
    #[arg(long, value_name = "TYPE", value_enum)]
    pub dtype: Option<Dtype>,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Print more: -v the worst site of each checkpoint, -vv every site
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Opens a model, and prints what is remarkable about its files.
pub fn open(name: &str) -> Result<Model> {
    let model = match name.strip_prefix("hf:") {
        None => models::open(name)?,
        Some(_) => Model { name: name.to_owned(), ..models::open(&downloaded(name)?)? },
    };
    let unread = model.weights.unread_notes();
    let of_tokenizer = model.tokenizer.iter().flat_map(Tokenizer::notes);
    for note in model.weights.notes().iter().chain(&unread).chain(of_tokenizer) {
        say(&format!("note: {}: {}", escaped(name), escaped(note)));
    }
    Ok(model)
}

/// The path of a model on the hub, in the cache of this machine.
#[cfg(feature = "hub")]
fn downloaded(name: &str) -> Result<String> {
    let path = super::hub::fetch(name)?;
    let unreadable = |_| Error::input("the path of the cache is not UTF-8", "set HF_HOME to another folder");
    path.into_os_string().into_string().map_err(unreadable)
}

#[cfg(not(feature = "hub"))]
fn downloaded(name: &str) -> Result<String> {
    let what = format!("{}: this build cannot download models", escaped(name));
    Err(Error::input(what, "install it with --features hub, or download the model and give its path"))
}

impl Common {
    /// Opens the requested model, with the requested references.
    pub fn open(&self) -> Result<Model> {
        let mut model = open(self.model())?;
        if let Some(name) = &self.references {
            model.fixture = Some(models::references(name)?);
        }
        Ok(model)
    }

    /// Fills in, from the settings file, what the flags do not set.
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
