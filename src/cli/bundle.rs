//! `--bundle`: writes the first failing site to a file that reproduces the failure.

use std::path::{Path, PathBuf};

use clap::Args;
use rbees_check::bundle::{self, Bundle, Bundled};
use rbees_check::dump::Against;
use rbees_check::judge::{Outcome, Subject};
use rbees_check::recording::Recording;
use rbees_check::{Error, Result};

use super::files;
use super::inputs::{NamedFile, overwritten};
use super::stderr::say;

#[derive(Args, Debug)]
pub struct Bundling {
    /// Write the first wrong operation to a zip file: its inputs, output, reference values and weights, and
    /// the command that checks it again
    #[arg(long, value_name = "FILE.zip")]
    bundle: Option<PathBuf>,
}

impl Bundling {
    /// Checks that the file can be written and is none of the `others`, before anything is judged.
    pub fn ready(&self, others: &[NamedFile<'_>]) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        if let Some(how) = overwritten(path, others) {
            let what = format!("--bundle {}: {how}", path.display());
            return Err(Error::input(what, "give the bundle its own file"));
        }
        files::writable(path).map_err(|error| unwritable(path, &error))
    }

    /// Refuses to write a bundle when two recordings are compared.
    pub fn refuse_two_recordings(&self) -> Result<()> {
        match &self.bundle {
            None => Ok(()),
            Some(_) => Err(Error::input(
                "--bundle cannot be used with --against: a bundle contains one recording",
                "leave out --against, and bundle each recording separately: --dump FILE --bundle FILE.zip",
            )),
        }
    }

    /// Writes the bundle, if it was asked for and a site failed.
    pub fn write(&self, subject: &mut Subject<'_>, outcomes: &[Outcome], flags: &str) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        let nothing = "no site fails with reference inputs and dense arithmetic";
        save(path, bundle::first_failure(subject, outcomes, flags)?, nothing)
    }

    /// Writes the bundle of a recording, if it was asked for and a site failed.
    pub fn write_recorded(
        &self,
        dump: &Recording,
        against: &Against<'_>,
        outcomes: &[Outcome],
        flags: &str,
    ) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        let Bundled { bundle, left_out } = bundle::first_recorded_failure(dump, against, outcomes, flags)?;
        let nothing = match left_out {
            None => "no recorded site differs",
            Some((site, why)) => {
                say(&format!("note: {site}, the first site that differs, cannot be bundled: {why}"));
                "no other recorded site differs"
            }
        };
        save(path, bundle, nothing)
    }
}

/// Writes `bundle` to `path`; `nothing` says why there is none.
fn save(path: &Path, bundle: Option<Bundle>, nothing: &str) -> Result<()> {
    match bundle {
        None => say(&format!("note: {} was not written: {nothing}", path.display())),
        Some(bundle) => {
            files::write(path, &bundle.zip()?).map_err(|error| unwritable(path, &error))?;
            say(&format!("bundle: {} of {} · {}", path.display(), bundle.site, bundle.command));
        }
    }
    Ok(())
}

fn unwritable(file: &Path, error: &std::io::Error) -> Error {
    Error::input(
        format!("--bundle {}: {error}", file.display()),
        "name a file in a folder that exists and that you may write to",
    )
}
