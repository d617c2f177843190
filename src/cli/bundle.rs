//! `--bundle`: the first red site as a file that shows it again.

use std::path::{Path, PathBuf};

use clap::Args;
use rbees_check::judge::{Outcome, Subject};
use rbees_check::{Error, Result, bundle};

use super::files;
use super::stderr::say;

#[derive(Args, Debug)]
pub struct Bundling {
    /// Write the first wrong operation, alone, to a zip file: what it was fed and gave, its truth and
    /// weights, and how to judge it again
    #[arg(long, value_name = "FILE.zip", conflicts_with = "dump")]
    bundle: Option<PathBuf>,
}

impl Bundling {
    /// Before anything is judged: can it be written?
    pub fn ready(&self) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        files::writable(path).map_err(|error| unwritable(path, &error))
    }

    /// Writes it, if it was asked for and something is red.
    pub fn write(&self, subject: &mut Subject<'_>, outcomes: &[Outcome], flags: &str) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        match bundle::first_red(subject, outcomes, flags)? {
            None => say(&format!(
                "note: no site differs on clean inputs and dense arithmetic: {} is not written",
                path.display()
            )),
            Some(bundle) => {
                files::write(path, &bundle.zip()?).map_err(|error| unwritable(path, &error))?;
                say(&format!("bundle: {} of {} · {}", path.display(), bundle.site, bundle.command));
            }
        }
        Ok(())
    }
}

fn unwritable(file: &Path, error: &std::io::Error) -> Error {
    Error::input(
        format!("--bundle {}: {error}", file.display()),
        "give a file in a folder that exists and may be written to",
    )
}
