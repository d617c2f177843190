//! Verdicts as JSON: a whole run in one document, versioned, to be kept, compared and published.
//!
//! `docs/report.schema.json` is its JSON Schema. Within a format fields may be added; one that is
//! taken away, or changes its meaning, is another format.

mod checkpoints;
mod number;
mod suspects;
mod verdicts;

pub use checkpoints::{Checkpoint, Finding, StaleExpectation, Standing, Summary};
pub use number::Number;
pub use suspects::{Named, RunnerUp, Suspects};
pub use verdicts::{Difference, Element, Verdict};

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, files};

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;
/// The largest report that is read, in bytes. A comparison takes about 1 kB; a large model has 100,000 of them.
const LIMIT: u64 = 512 << 20;

/// A run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Who judged.
    pub tool: Tool,
    /// What was judged.
    pub model: Model,
    /// On what, and how.
    pub run: Run,
    /// By what.
    pub references: References,
    /// Every checkpoint that was asked for, in order.
    pub checkpoints: Vec<Checkpoint>,
    /// Expected failures that pass: they are failures of the settings file.
    pub stale_expectations: Vec<StaleExpectation>,
    /// How many checkpoints have which status.
    pub summary: Summary,
    /// What the program ended with: 0 all passed, 1 something differs, 2 could not judge.
    pub exit_code: u8,
}

impl Report {
    /// Reads a report that was written before.
    ///
    /// # Errors
    /// The file cannot be read, is no report, or one of another format.
    pub fn read(path: &Path) -> Result<Self> {
        let hint = "give a file that `rbees-check run --report json=FILE` has written";
        let bytes = files::read(path, LIMIT, hint)?;
        let no_report = |error| Error::file(path, format!("not a report: {error}"), hint);
        let value: serde_json::Value = files::json(&bytes).map_err(no_report)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => serde_json::from_value(value).map_err(no_report),
            Some(format) => {
                let problem = format!("a report of format {format}; this version reads format {FORMAT}");
                Err(Error::file(path, problem, "write it again with this version"))
            }
            None => Err(Error::file(path, "not a report: it has no `format`", hint)),
        }
    }
}

/// The program that wrote a report.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Tool {
    /// `rbees-check`.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Tool {
    /// This one.
    pub fn this() -> Self {
        Self { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() }
    }
}

/// The model under test.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Model {
    /// Its name, or the path that it was opened by.
    pub name: String,
    /// `4 layers, width 128, 6 heads on 2 kv heads`.
    pub shape: String,
    /// One hash that tells its weights from all others; none where a dump was judged without them.
    pub weights_sha256: Option<String>,
}

/// What decides the arithmetic and what is looked at.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Run {
    /// `cpu`, `cuda:0`, `metal:0`.
    pub device: String,
    /// `f32`, `bf16`, `f16`.
    pub dtype: String,
    /// How weights enter a product: `dense`, `quantized`, `dense and quantized`.
    pub matmul: String,
    /// Paths that were judged: `plain`, `fused`, `plain quantized`.
    pub paths: Vec<String>,
    /// The one feed that was judged, if not all.
    pub feed: Option<String>,
    /// Threads of the processor's pool.
    pub threads: usize,
}

/// What the model was judged by.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct References {
    /// One hash of all files of the model's references; none where cases alone were given.
    pub files_sha256: Option<String>,
    /// Every case that was run.
    pub cases: Vec<Case>,
}

/// One case: where its truth comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Case {
    /// Its name.
    pub case: String,
    /// The model that it was captured from.
    pub model: String,
    /// One hash of every stored site: that of the lines `HASH  SITE` of its manifest.
    pub sites_sha256: String,
    /// `pending` until a second oracle has reproduced its truth.
    pub second_oracle: String,
    /// Hashes, versions and the command, as the manifest has them.
    pub provenance: BTreeMap<String, serde_json::Value>,
}
