//! `--report` and `--baseline`: writes reports of a run, and compares it with an earlier one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use rbees_check::report::json::Report;
use rbees_check::report::{baseline, html, junit};
use rbees_check::{Error, Result};

use super::files;
use super::inputs::{NamedFile, overwritten};
use super::paint::Out;

#[derive(Args, Debug)]
pub struct Reports {
    /// Write a report, whether or not the run passes: html=FILE, json=FILE or junit=FILE; repeatable; if FILE
    /// is `-`, the report goes to standard output and the text to standard error
    #[arg(long = "report", value_name = "FORM=FILE")]
    targets: Vec<Target>,
    /// Print what changed since this JSON report; the exit code does not change
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// A report format and the file it goes to: `json=FILE`.
#[derive(Clone, Debug, PartialEq)]
struct Target {
    form: ReportFormat,
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ReportFormat {
    Html,
    Json,
    Junit,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, file) = text.split_once('=').ok_or("a report is html=FILE, json=FILE or junit=FILE")?;
        let form = match form {
            "html" => ReportFormat::Html,
            "json" => ReportFormat::Json,
            "junit" => ReportFormat::Junit,
            other => return Err(format!("`{other}` is not a report format; use html, json or junit")),
        };
        if file.is_empty() {
            return Err("the file name is missing".into());
        }
        Ok(Self { form, file: file.into() })
    }
}

impl Target {
    fn write(&self, text: &str) -> Result<()> {
        if self.is_stdout() {
            return Out::plain().line(text.trim_end());
        }
        files::write(&self.file, text.as_bytes()).map_err(|error| unwritable(&self.file, &error))
    }

    fn is_stdout(&self) -> bool {
        self.file.as_os_str() == OsStr::new("-")
    }
}

impl Reports {
    /// Whether a report must be written or a baseline compared.
    pub fn wanted(&self) -> bool {
        !self.targets.is_empty() || self.baseline.is_some()
    }

    /// Whether exactly one report must be written, and it is JSON.
    pub fn only_json(&self) -> bool {
        matches!(self.targets.as_slice(), [Target { form: ReportFormat::Json, .. }])
    }

    /// Whether a report goes to standard output, where the text normally goes.
    pub fn on_stdout(&self) -> bool {
        self.targets.iter().any(Target::is_stdout)
    }

    /// Before anything is judged: reads the baseline, and checks that all reports can be written and overwrite
    /// none of the `inputs`.
    ///
    /// # Errors
    /// The baseline is not a report, a file cannot be written, or a report goes to the same file as another
    /// report or an input.
    pub fn ready(&self, inputs: &[NamedFile<'_>]) -> Result<Option<Report>> {
        for (n, target) in self.targets.iter().enumerate() {
            let file = target.file.display();
            if self.targets[..n].iter().any(|other| files::is_same(&other.file, &target.file)) {
                let what = format!("--report: two reports go to {file}");
                return Err(Error::input(what, "give each report its own file"));
            }
            if !target.is_stdout() {
                if let Some(how) = overwritten(&target.file, inputs) {
                    let what = format!("--report {file}: {how}");
                    return Err(Error::input(what, "give the report its own file"));
                }
                files::writable(&target.file).map_err(|error| unwritable(&target.file, &error))?;
            }
        }
        self.baseline.as_deref().map(Report::read).transpose()
    }

    /// The files that this run writes, and the baseline, with their flags.
    pub fn files(&self) -> impl Iterator<Item = NamedFile<'_>> {
        let written = self.targets.iter().filter(|target| !target.is_stdout());
        let written = written.map(|target| ("report", target.file.as_path()));
        written.chain(self.baseline.as_deref().map(|file| ("baseline", file)))
    }

    /// Writes all reports.
    ///
    /// # Errors
    /// The first report that cannot be written.
    pub fn write(&self, run: &html::PageInput<'_>) -> Result<()> {
        self.targets.iter().try_for_each(|target| {
            target.write(&match target.form {
                ReportFormat::Json => json(run.report)?,
                ReportFormat::Html => html::page(run)?,
                ReportFormat::Junit => junit::document(run.report)?,
            })
        })
    }

    /// Writes the report of a part of a run.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_part(&self, report: &Report) -> Result<()> {
        let text = json(report)?;
        self.targets.iter().try_for_each(|target| target.write(&text))
    }

    /// `since old.json: 1 now failing, 811 as before`, and the changes. Empty without a baseline.
    pub fn since(&self, earlier: Option<&Report>, now: &Report) -> String {
        match (&self.baseline, earlier) {
            (Some(file), Some(earlier)) => {
                format!("since {}: {}\n", file.display(), baseline::changes(earlier, now))
            }
            _ => String::new(),
        }
    }
}

fn json(report: &Report) -> Result<String> {
    serde_json::to_string_pretty(report).map_err(|error| Error::internal(format!("JSON: {error}")))
}

fn unwritable(file: &Path, error: &std::io::Error) -> Error {
    Error::input(
        format!("--report {}: {error}", file.display()),
        "name a file in a folder that exists and that you may write to",
    )
}
