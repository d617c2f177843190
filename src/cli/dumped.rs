//! `run --dump`: checks a forward pass that another program recorded.

use std::path::{Path, PathBuf};

use clap::Args;
use rbees_check::checkpoints::Checkpoint;
use rbees_check::dump::Against;
use rbees_check::judge::Outcome;
use rbees_check::probe::Arithmetic;
use rbees_check::recording::{NameMap, Recording, Vocabulary, passes_in};
use rbees_check::{Error, Result};

use super::bundle::Bundling;
use super::common::Common;
use super::description::Description;
use super::ending::Ending;
use super::escape::one_line;
use super::inputs::NamedFile;
use super::known_model::{KnownModel, case};
use super::progress::Progress;
use super::recording_text;
use super::rerun::Flags;
use super::results::Results;
use super::stderr::say;

#[derive(Args, Debug)]
pub struct Dumped {
    /// Check a forward pass that your own code recorded: a .safetensors, .npz or .pt file, or a directory of
    /// .npy files; several passes: a directory with pass-0.safetensors, pass-1.safetensors and so on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["feed", "attention", "device"])]
    dump: Option<PathBuf>,
    /// File that maps your own tensor names to sites
    #[arg(long, value_name = "names.toml", requires = "dump")]
    map: Option<PathBuf>,
    /// Fail if the recording lacks a site
    #[arg(long, requires = "dump", conflicts_with = "against")]
    pub(super) require_all: bool,
    /// Refuse a recording that does not state everything: nothing in it is recognised by its values or shape
    #[arg(long, requires = "dump")]
    strict: bool,
    /// Compare with another recording of the same prompt, instead of with references
    #[arg(long, value_name = "FILE", requires = "dump")]
    pub(super) against: Option<PathBuf>,
}

/// The arguments of `run` that are not specific to recordings.
pub struct RunOptions<'a> {
    pub common: &'a Common,
    pub cases: &'a [String],
    pub checkpoints: &'a [&'static Checkpoint],
    /// Round the activations of matrix products to blocks.
    pub blocks: bool,
    pub bundling: &'a Bundling,
}

impl Dumped {
    /// Was `--dump` given?
    pub fn is_meant(&self) -> bool {
        self.dump.is_some()
    }

    /// The files that this run reads, and their flags.
    pub fn files(&self) -> impl Iterator<Item = NamedFile<'_>> {
        let named = [("dump", &self.dump), ("against", &self.against), ("map", &self.map)];
        named.into_iter().filter_map(|(flag, file)| Some((flag, file.as_deref()?)))
    }

    /// Adds the flags that read the same recording again.
    pub fn flags(&self, flags: &mut Flags) {
        self.files().for_each(|(flag, file)| flags.text(flag, &file.display().to_string()));
    }

    /// Reads the recording, finds what to compare it with, judges it and prints the result.
    pub fn judge_recording(&self, options: &RunOptions<'_>, mut results: Results<'_>) -> Result<Ending> {
        if self.against.is_some() {
            options.bundling.refuse_two_recordings()?;
        }
        let vocabulary = self.map.as_deref().map_or(Ok(Vocabulary::default()), names)?;
        let passes = self.dump.as_deref().map_or(Ok(vec![]), passes_in)?;
        if !passes.is_empty() {
            return self.judge_passes(passes, &vocabulary, options, results);
        }
        let mut dump = Recording::open(self.dump.as_deref().unwrap_or(Path::new("")), &vocabulary)?;
        if let Some(dtype) = options.common.dtype {
            dump.compute_in(dtype.into());
        }
        let progress = Progress::start("reading the model and its references");
        let model = KnownModel::of(options.common, options.cases)?;
        let (case, about_reference) = case(&dump, &model, options.cases)?;
        let arithmetic = if options.blocks { Arithmetic::Blocks32 } else { dump.arithmetic()? };
        let against = Against {
            case: case.as_ref().filter(|case| case.knows(arithmetic)),
            weights: model.weights.as_ref(),
            config: model.config.as_ref(),
            arithmetic,
        };
        let mut other = self.against.as_deref().map(|file| Recording::open(file, &vocabulary)).transpose()?;
        for recording in std::iter::once(&mut dump).chain(&mut other) {
            recording.understand(&against)?;
        }
        for recording in std::iter::once(&dump).chain(&other) {
            progress.aside(|| self.announce(recording))?;
        }
        let head = || recording_text::head(&dump, other.as_ref(), &model, &about_reference, results.out);
        progress.aside(head)?;
        progress.now("judging");
        let (mut outcomes, text) = self.outcomes(&dump, other.as_ref(), &against, options.checkpoints)?;
        drop(progress);
        outcomes.iter_mut().try_for_each(|outcome| results.outcome(outcome))?;
        results.failures(&outcomes)?;
        results.out.text(&text)?;
        let ids: Vec<&str> = options.checkpoints.iter().map(|checkpoint| checkpoint.id).collect();
        let description = || Description::of_recording(&dump, &model.name, &against);
        results.report(&outcomes, &ids.join(" "), description)?;
        if other.is_none() {
            options.bundling.write_recorded(&dump, &against, &outcomes, results.flags)?;
        }
        results.end(&outcomes)
    }

    /// Judges the recording, or compares it with `other`. Returns the outcomes, and what to print after them.
    fn outcomes(
        &self,
        dump: &Recording,
        other: Option<&Recording>,
        against: &Against<'_>,
        checkpoints: &[&'static Checkpoint],
    ) -> Result<(Vec<Outcome>, String)> {
        Ok(match other {
            None => {
                let judged = dump.judge(against, checkpoints, self.require_all)?;
                let text = recording_text::of_one(&judged);
                (judged.outcomes, text)
            }
            Some(other) => {
                let pair = dump.judge_against(other, against, checkpoints)?;
                let text = recording_text::of_two(&pair, [&dump.name, &other.name]);
                (pair.outcomes, text)
            }
        })
    }

    /// Prints what was recognised in a recording, or refuses it if everything must be stated.
    pub(super) fn announce(&self, recording: &Recording) -> Result<()> {
        if let Some(recognition) = recording.recognised.first().filter(|_| self.strict) {
            let hint = format!("state it: {}; or leave out --strict", recognition.explicit);
            return Err(Error::file(
                &recording.name,
                format!("{}, and --strict was given", recognition.what),
                hint,
            ));
        }
        recording
            .recognised
            .iter()
            .for_each(|recognition| say(&one_line(&format!("note: {}: {recognition}", recording.name))));
        Ok(())
    }
}

/// Reads the file of `--map`.
fn names(path: &Path) -> Result<Vocabulary> {
    const HINT: &str =
        "[names] \"blk.{N}.q\" = \"model.layers.{N}.self_attn.q_proj\"; docs/dump-format.md says more";
    // In bytes. A file with one line for each of 10,000 tensors has 1 MB.
    const LIMIT: u64 = 16 << 20;
    let text = rbees_check::files::read_text(path, LIMIT, HINT)?;
    let map: NameMap = toml::from_str(&text).map_err(|error| Error::file(path, error.message(), HINT))?;
    let named = |error: Error| Error::file(path, &error, error.hint().unwrap_or(HINT));
    map.vocabulary().map_err(named)
}
