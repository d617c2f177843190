//! A whole run as one versioned JSON document, to keep, compare and publish.
//!
//! Its JSON Schema is `docs/report.schema.json`. Fields may be added within a format version; removing a
//! field or changing its meaning needs a new version.

mod checkpoints;
mod part;
mod suspects;
mod verdicts;

pub use crate::files::Number;
pub use checkpoints::{Checkpoint, Finding, StaleExpectation, Standing, Summary};
pub use part::Part;
pub use suspects::{Named, RunnerUp, Suspects};
pub use verdicts::{Difference, Element, Verdict};

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, files};

/// The format version that this program writes and reads.
pub const FORMAT: u32 = 1;
/// The largest report that is read, in bytes. A comparison takes about 1 kB, and a large model has 100,000 of
/// them.
const LIMIT: u64 = 512 << 20;

/// One run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The program that judged.
    pub tool: Tool,
    /// The model under test.
    pub model: Model,
    /// The device, dtype, paths and other settings.
    pub run: Run,
    /// The references that the model was compared with.
    pub references: References,
    /// Which part of a run this is, if it is not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// What was recognised in a recording although nothing in it states it, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recognised: Vec<String>,
    /// Every requested checkpoint, in order.
    pub checkpoints: Vec<Checkpoint>,
    /// Expected failures that pass. They count as errors in the settings file.
    pub stale_expectations: Vec<StaleExpectation>,
    /// How many checkpoints have each status.
    pub summary: Summary,
    /// The exit code: 0 all passed, 1 something differs, 2 could not judge.
    pub exit_code: u8,
}

impl Report {
    /// Reads a report file.
    ///
    /// # Errors
    /// The file cannot be read, is not a report, or has another format version.
    pub fn read(path: &Path) -> Result<Self> {
        let hint = "give a file written by `rbees-check run --report json=FILE`";
        let bytes = files::read(path, LIMIT, hint)?;
        let no_report = |error| Error::file(path, format!("not a report: {error}"), hint);
        let value: serde_json::Value = files::json(&bytes).map_err(no_report)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => serde_json::from_value(value).map_err(no_report),
            Some(format) => {
                let problem = format!(
                    "this report has format version {format}, but this program reads version {FORMAT}"
                );
                Err(Error::file(path, problem, "write the report again with this version of rbees-check"))
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
    /// This program.
    pub fn this() -> Self {
        Self { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() }
    }
}

/// The model under test.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Model {
    /// Its name, or the path it was opened from.
    pub name: String,
    /// `4 layers, width 128, 6 heads on 2 kv heads`.
    pub shape: String,
    /// A hash that identifies its weights; `None` if a recording was judged without weights.
    pub weights_sha256: Option<String>,
}

/// What determines the arithmetic, and what was judged.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Run {
    /// `cpu`, `cuda:0`, `metal:0`.
    pub device: String,
    /// `f32`, `bf16`, `f16`.
    pub dtype: String,
    /// Which matmul multiplies the weights: `dense`, `quantized`, `dense and quantized`.
    pub matmul: String,
    /// Paths that were judged: `plain`, `fused`, `plain quantized`.
    pub paths: Vec<String>,
    /// The one feed that was judged; `None` if all were.
    pub feed: Option<String>,
    /// Threads of the CPU thread pool.
    pub threads: usize,
}

/// The references that the model was compared with.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct References {
    /// One hash of all files of the model's references; `None` if only single cases were given.
    pub files_sha256: Option<String>,
    /// Every case that was run.
    pub cases: Vec<Case>,
}

/// One case and where its reference comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Case {
    /// Its name.
    pub case: String,
    /// The model that the reference was captured from.
    pub model: String,
    /// One hash of all stored sites: the hash of the lines `HASH  SITE` of its manifest.
    pub sites_sha256: String,
    /// `pending` until a second oracle has reproduced the reference.
    pub second_oracle: String,
    /// Hashes, versions and the command, as in the manifest.
    pub provenance: BTreeMap<String, serde_json::Value>,
}
