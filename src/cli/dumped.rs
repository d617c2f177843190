//! `run --dump`: checks a forward pass that another program recorded.

use std::path::{Path, PathBuf};

use clap::Args;
use rbees_check::checkpoints::Checkpoint;
use rbees_check::dump::{Against, Coverage, FirstWrong, Judged, Pair};
use rbees_check::judge::{Outcome, Status};
use rbees_check::probe::Arithmetic;
use rbees_check::recording::{NameMap, Recording, Vocabulary};
use rbees_check::report::{self, html, json::Report};
use rbees_check::weights::Config;
use rbees_check::{Error, Result};

use super::bundle::{Bundling, NamedFile};
use super::common::Common;
use super::dump_report;
use super::ending::Ending;
use super::expect::Expectations;
use super::known_model::{KnownModel, case};
use super::outcomes::{ending, rendered, troubles};
use super::paint::Out;
use super::progress::Progress;
use super::reports::Reports;
use super::rerun::Flags;
use super::stderr::say;

#[derive(Args, Debug)]
pub struct Dumped {
    /// Check a forward pass that your own code recorded: a .safetensors file, an .npz file, or a directory of
    /// .npy files
    #[arg(long, value_name = "FILE", conflicts_with_all = ["feed", "attention", "device"])]
    dump: Option<PathBuf>,
    /// File that maps your own tensor names to sites
    #[arg(long, value_name = "names.toml", requires = "dump")]
    map: Option<PathBuf>,
    /// Fail if the recording lacks a site
    #[arg(long, requires = "dump", conflicts_with = "against")]
    require_all: bool,
    /// Refuse a recording that does not state everything: nothing in it is recognised by its values or shape
    #[arg(long, requires = "dump")]
    strict: bool,
    /// Compare with another recording of the same prompt, instead of with references
    #[arg(long, value_name = "FILE", requires = "dump")]
    against: Option<PathBuf>,
}

/// The arguments of `run` that are not specific to recordings.
pub struct Asked<'a> {
    pub common: &'a Common,
    pub cases: &'a [String],
    pub checkpoints: &'a [&'static Checkpoint],
    /// Round the activations of matrix products to blocks.
    pub blocks: bool,
    pub reports: &'a Reports,
    pub bundling: &'a Bundling,
    /// The flags of the rerun command.
    pub flags: &'a str,
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
    pub fn judge_recording(
        &self,
        asked: &Asked<'_>,
        expected: &mut Expectations,
        earlier: Option<&Report>,
        out: &mut Out,
    ) -> Result<Ending> {
        if self.against.is_some() {
            asked.bundling.refuse_two_recordings()?;
        }
        let mut aside = Out::aside();
        let out = if asked.reports.on_stdout() { &mut aside } else { out };
        let vocabulary = self.map.as_deref().map_or(Ok(Vocabulary::default()), names)?;
        let mut dump = Recording::open(self.dump.as_deref().unwrap_or(Path::new("")), &vocabulary)?;
        if let Some(dtype) = asked.common.dtype {
            dump.compute_in(dtype.into());
        }
        let progress = Progress::start("reading the model and its references");
        let model = KnownModel::of(asked.common, asked.cases)?;
        let (case, about_reference) = case(&dump, &model, asked.cases)?;
        let arithmetic = if asked.blocks { Arithmetic::Blocks32 } else { dump.arithmetic()? };
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
        progress.aside(|| head(&dump, other.as_ref(), &model, &about_reference, out))?;
        progress.now("judging");
        let (mut outcomes, close) = match &other {
            None => {
                let judged = dump.judge(&against, asked.checkpoints, self.require_all)?;
                let close = whole(&judged);
                (judged.outcomes, close)
            }
            Some(other) => {
                let pair = dump.judge_against(other, &against, asked.checkpoints)?;
                let close = both(&pair, [&dump.name, &other.name]);
                (pair.outcomes, close)
            }
        };
        drop(progress);
        outcomes.iter_mut().for_each(|outcome| expected.mark(outcome));
        for outcome in &outcomes {
            out.text(&rendered(outcome, asked.common.verbose))?;
        }
        out.line("")?;
        troubles(&outcomes, expected, asked.flags, out)?;
        out.text(&close)?;
        let ending = ending(&outcomes, expected.stale.len());
        let summary = report::summary(&outcomes, expected.stale.len());
        if asked.reports.wanted() {
            let stale = std::mem::take(&mut expected.stale);
            let description =
                dump_report::DumpDescription { dump: &dump, name: &model.name, against: &against };
            let report = dump_report::report(&description, &outcomes, stale, ending)?;
            let ids: Vec<&str> = asked.checkpoints.iter().map(|checkpoint| checkpoint.id).collect();
            let command = format!("rbees-check run {}{}", ids.join(" "), asked.flags);
            asked.reports.write(&html::PageInput {
                report: &report,
                outcomes: &outcomes,
                command: &command,
                flags: asked.flags,
            })?;
            out.text(&asked.reports.since(earlier, &report))?;
        }
        if other.is_none() {
            asked.bundling.write_recorded(&dump, &against, &outcomes, asked.flags)?;
        }
        out.line(summary)?;
        Ok(ending)
    }
}

impl Dumped {
    /// Prints what was recognised in a recording, or refuses it if everything must be stated.
    fn announce(&self, recording: &Recording) -> Result<()> {
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
            .for_each(|recognition| say(&format!("note: {}: {recognition}", recording.name)));
        Ok(())
    }
}

/// Coverage, the first site that differs, and the operation that introduced the error.
fn whole(judged: &Judged) -> String {
    let mut text = covered(&judged.coverage);
    if let [first, rest @ ..] = &judged.unjudged[..] {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        text += &format!("recorded but not checked: {first}{more}\n");
    }
    if let Some(site) = judged.first_difference {
        text += &format!("first site that differs from the reference: {site}\n");
    }
    text + &first_wrong("first wrong operation, given its recorded inputs", judged.first_wrong.as_ref())
}

/// The same for two recordings that are compared with each other.
fn both(pair: &Pair, names: [&str; 2]) -> String {
    let mut text = covered(&pair.coverage);
    let compared = |outcome: &Outcome| outcome.checkpoint.id == "07" && outcome.status() == Status::Passed;
    match pair.part {
        Some(site) => text += &format!("first site where the two recordings differ: {site}\n"),
        None if pair.outcomes.iter().any(compared) => {
            text += "the two recordings differ no more than two correct runs may\n"
        }
        None => {}
    }
    for (name, wrong) in names.iter().zip(&pair.first_wrong) {
        text += &first_wrong(
            &format!("first wrong operation of {name}, given its recorded inputs"),
            wrong.as_ref(),
        );
    }
    text
}

/// `coverage: 70 of 71 sites; not recorded, so not checked separately: model.layers.1.mlp.act`.
fn covered(coverage: &Coverage) -> String {
    let missing = match &coverage.missing[..] {
        [] => String::new(),
        [one] => format!("; not recorded, so not checked separately: {one}"),
        [first, rest @ ..] => {
            format!("; not recorded, so not checked separately: {first} and {} more", rest.len())
        }
    };
    format!("coverage: {} of {} sites{missing}\n", coverage.recorded, coverage.all)
}

/// The operation that introduced the error, or the group of operations that contains it.
fn first_wrong(label: &str, wrong: Option<&FirstWrong>) -> String {
    let Some(wrong) = wrong else { return String::new() };
    match &wrong.among[..] {
        [_] | [] => format!("{label}: {}\n", wrong.site),
        [first, .., last] => {
            let among =
                format!("or an earlier one of the {} operations from {first} to {last}", wrong.among.len());
            format!("{label}: {}, {among}: record more of them to see which\n", wrong.site)
        }
    }
}

/// Prints what was recorded and what it is checked against.
fn head(
    dump: &Recording,
    other: Option<&Recording>,
    model: &KnownModel,
    about_reference: &str,
    out: &mut Out,
) -> Result<()> {
    out.line(about(dump))?;
    other.map_or(Ok(()), |other| out.line(format!("against {}", about(other))))?;
    let shape = model.config.as_ref().map_or("shape unknown".to_owned(), Config::to_string);
    out.line(format!("{} · {shape}", model.name))?;
    if other.is_none() {
        out.line(format!("reference: {about_reference}"))?;
    }
    out.line(match &model.without {
        None => "replay: every operation is recomputed from the recording's own inputs".to_owned(),
        Some(why) => format!("replay: only operations that need no weights: {why}"),
    })?;
    out.line("")
}

/// `dump.safetensors · 13 tokens, f32, eager, dump_torch.py`.
fn about(dump: &Recording) -> String {
    let tokens = dump.places().len();
    let facts: Vec<&str> = ["arithmetic", "attention", "recorder"]
        .iter()
        .filter_map(|key| dump.metadata.get(*key))
        .map(String::as_str)
        .collect();
    let facts: String = facts.iter().map(|fact| format!(", {fact}")).collect();
    let s = if tokens == 1 { "" } else { "s" };
    format!("{} · {tokens} token{s}, {}{facts}", dump.name, dump.dtype.as_str())
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
