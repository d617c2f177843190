//! `--bundle`: the first red site as a file that shows it again.

use std::path::{Path, PathBuf};

use clap::Args;
use rbees_check::bundle::{self, Bundle, Bundled};
use rbees_check::dump::Against;
use rbees_check::judge::{Outcome, Subject};
use rbees_check::recording::Recording;
use rbees_check::{Error, Result};

use super::files;
use super::stderr::say;

#[derive(Args, Debug)]
pub struct Bundling {
    /// Write the first wrong operation, alone, to a zip file: what it was fed and gave, its truth and
    /// weights, and how to judge it again
    #[arg(long, value_name = "FILE.zip")]
    bundle: Option<PathBuf>,
}

/// A file that the run reads or writes, and the flag that names it.
pub type Named<'a> = (&'static str, &'a Path);

impl Bundling {
    /// Before anything is judged: can it be written, and is it none of the `others`?
    pub fn ready(&self, others: &[Named<'_>]) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        if let Some((flag, _)) = others.iter().find(|(_, other)| files::is_same(path, other)) {
            let what = format!("--bundle {}: --{flag} names the same file", path.display());
            return Err(Error::input(what, "write the bundle to a file of its own"));
        }
        files::writable(path).map_err(|error| unwritable(path, &error))
    }

    /// Refuses to bundle where two recordings are compared.
    pub fn refuse_two_recordings(&self) -> Result<()> {
        match &self.bundle {
            None => Ok(()),
            Some(_) => Err(Error::input(
                "--bundle cannot be used with --against: a bundle holds one recording",
                "leave --against out, and bundle each recording by itself: --dump FILE --bundle FILE.zip",
            )),
        }
    }

    /// Writes it, if it was asked for and something is red.
    pub fn write(&self, subject: &mut Subject<'_>, outcomes: &[Outcome], flags: &str) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        let nothing = "no site differs on clean inputs and dense arithmetic";
        save(path, bundle::first_red(subject, outcomes, flags)?, nothing)
    }

    /// The same for a recording.
    pub fn write_recorded(
        &self,
        dump: &Recording,
        against: &Against<'_>,
        outcomes: &[Outcome],
        flags: &str,
    ) -> Result<()> {
        let Some(path) = &self.bundle else { return Ok(()) };
        let Bundled { bundle, left_out } = bundle::first_red_recorded(dump, against, outcomes, flags)?;
        let nothing = match left_out {
            None => "no recorded site differs",
            Some((site, why)) => {
                say(&format!("note: {site} differs first, but is not bundled: {why}"));
                "no other recorded site differs"
            }
        };
        save(path, bundle, nothing)
    }
}

/// Writes `bundle` to `path`; `nothing` says why there is none.
fn save(path: &Path, bundle: Option<Bundle>, nothing: &str) -> Result<()> {
    match bundle {
        None => say(&format!("note: {nothing}: {} is not written", path.display())),
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
        "give a file in a folder that exists and may be written to",
    )
}
