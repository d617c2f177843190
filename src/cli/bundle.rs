//! `--bundle`: writes the first failing site to a file that reproduces the failure.

use std::path::{Path, PathBuf};

use clap::Args;
use rbees_check::judge::{Outcome, Subject};
use rbees_check::{Error, Result, bundle};

use super::files;
use super::stderr::say;

#[derive(Args, Debug)]
pub struct Bundling {
    /// Write the first wrong operation to a zip file: its inputs, output, reference values and weights, and
    /// the command that checks it again
    #[arg(long, value_name = "FILE.zip", conflicts_with = "dump")]
    bundle: Option<PathBuf>,
}

impl Bundling {
    /// Checks that the file can be written, before anything is judged.
    pub fn ready(&self) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        files::writable(path).map_err(|error| unwritable(path, &error))
    }

    /// Writes the bundle, if it was asked for and a site failed.
    pub fn write(&self, subject: &mut Subject<'_>, outcomes: &[Outcome], flags: &str) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        match bundle::first_red(subject, outcomes, flags)? {
            None => say(&format!(
                "note: {} was not written: no site fails with reference inputs and dense arithmetic",
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
        "name a file in a folder that exists and that you may write to",
    )
}
