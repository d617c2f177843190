//! The verdict on a path that is served: its JSON report, which is stored beside the verdict.

use rbees_check::files::read_text;
use rbees_check::judge::GeneratingPath;
use rbees_check::report::json;
use rbees_check::{Error, Result};

use super::description::{Description, case};
use super::files;
use super::verdicts::{VerdictKey, references};

/// The extension of a stored report.
const REPORT: &str = "report.json";

/// Size limit for reading a stored report, in bytes. Those of real models have a few MB.
const REPORT_LIMIT: u64 = 64 << 20;

impl VerdictKey {
    /// The JSON report that was stored with the verdict, if this has passed before.
    pub fn report(&self) -> Option<String> {
        let hint = "remove it";
        let stored = || read_text(&self.file().ok()?.with_extension(REPORT), REPORT_LIMIT, hint).ok();
        self.passed().then(stored).flatten()
    }

    /// Stores that this has passed, with the JSON report.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn remember_with(&self, report: &str) -> Result<()> {
        self.remember()?;
        let file = self.file()?.with_extension(REPORT);
        files::write(&file, report.as_bytes())
            .map_err(|error| Error::file(&file, error, "set RBEES_HOME to a directory you may write to"))
    }
}

impl Description {
    /// Describes one path of a model, judged before it generates.
    ///
    /// # Errors
    /// The weights or references cannot be reread to hash them.
    pub fn of_path(path: &GeneratingPath<'_>, device: &str) -> Result<Self> {
        let GeneratingPath { model, dtype, path, .. } = *path;
        let fixture = model.fixture.as_ref();
        let cases = fixture.iter().flat_map(|fixture| fixture.cases.iter().map(|name| fixture.case(name)));
        let run = json::Run {
            device: device.to_owned(),
            dtype: dtype.as_str().to_owned(),
            matmul: path.matmul.name().to_owned(),
            paths: vec![path.name().to_owned()],
            feed: None,
            threads: candle_core::utils::get_num_threads(),
        };
        let files_sha256 = fixture.map(references).transpose()?;
        let cases = cases.map(|one| Ok(case(&one?))).collect::<Result<_>>()?;
        Self::of(model, run, json::References { files_sha256, cases })
    }
}
