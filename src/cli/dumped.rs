//! `run --dump`: judges what another program has recorded.

use std::path::{Path, PathBuf};

use clap::Args;
use rbees_check::checkpoints::Checkpoint;
use rbees_check::dump::{self, Against, Dump, Guilt, Judged, NameMap};
use rbees_check::models::{self, Model};
use rbees_check::probe::Arithmetic;
use rbees_check::reference::{Fixture, Reference, Source};
use rbees_check::report::{self, html, json::Report};
use rbees_check::weights::{Config, Weights};
use rbees_check::{Error, Result};

use super::again::Flags;
use super::expect::Expectations;
use super::paint::Out;
use super::progress::Progress;
use super::reports::Reports;
use super::told::{ending, told, troubles};
use super::{Common, Ending, dump_report};

#[derive(Args, Debug)]
pub struct Dumped {
    /// Judge a pass that your own code recorded: a .safetensors file, an .npz file, or a directory of .npy
    #[arg(long, value_name = "FILE", conflicts_with_all = ["feed", "attention", "device"])]
    dump: Option<PathBuf>,
    /// What the names in the dump mean, where they are your own
    #[arg(long, value_name = "names.toml", requires = "dump")]
    map: Option<PathBuf>,
    /// Fail where the dump lacks a site
    #[arg(long, requires = "dump")]
    require_all: bool,
}

/// What `run` was asked beside the dump.
pub struct Asked<'a> {
    pub common: &'a Common,
    pub cases: &'a [String],
    pub checkpoints: &'a [&'static Checkpoint],
    /// Products of activations rounded to blocks.
    pub blocks: bool,
    pub reports: &'a Reports,
    /// Those that run it again.
    pub flags: &'a str,
}

/// What is known of the model that was recorded.
struct Known {
    name: String,
    weights: Option<Weights>,
    /// Why there are none.
    without: Option<String>,
    config: Option<Config>,
    fixture: Option<Fixture>,
}

impl Dumped {
    /// Was a dump named?
    pub fn is_meant(&self) -> bool {
        self.dump.is_some()
    }

    /// The flags that read the same dump again.
    pub fn flags(&self, flags: &mut Flags) {
        let named = [("dump", &self.dump), ("map", &self.map)];
        named.into_iter().for_each(|(flag, file)| {
            file.iter().for_each(|file| flags.text(flag, &file.display().to_string()));
        });
    }

    /// Reads the dump, finds what it is to be held against, judges and tells.
    pub fn judge(
        &self,
        asked: &Asked<'_>,
        expected: &mut Expectations,
        earlier: Option<&Report>,
        out: &mut Out,
    ) -> Result<Ending> {
        let mut aside = Out::aside();
        let out = if asked.reports.on_stdout() { &mut aside } else { out };
        let map = self.map.as_deref().map_or(Ok(NameMap::default()), names)?;
        let mut dump = Dump::open(self.dump.as_deref().unwrap_or(Path::new("")), &map)?;
        if let Some(dtype) = asked.common.dtype {
            dump.dtype = dtype.into();
        }
        let progress = Progress::start("reading the model and its references");
        let known = Known::of(asked)?;
        let (case, about_truth) = case(&mut dump, &known, asked.cases)?;
        let arithmetic = if asked.blocks { Arithmetic::Blocks32 } else { dump.arithmetic()? };
        let against = Against {
            case: case.as_ref().filter(|case| case.knows(arithmetic)),
            weights: known.weights.as_ref(),
            config: known.config.as_ref(),
            arithmetic,
        };
        progress.aside(|| head(&dump, &known, &about_truth, out))?;
        progress.now("judging");
        let mut judged = dump.judge(&against, asked.checkpoints, self.require_all)?;
        drop(progress);
        judged.outcomes.iter_mut().for_each(|outcome| expected.mark(outcome));
        let Judged { outcomes, .. } = &judged;
        for outcome in outcomes {
            out.text(&told(outcome, asked.common.verbose))?;
        }
        out.line("")?;
        troubles(outcomes, expected, asked.flags, out)?;
        self.close(&judged, out)?;
        let ending = ending(outcomes, expected.stale.len());
        let summary = report::summary(outcomes, expected.stale.len());
        if asked.reports.wanted() {
            let stale = std::mem::take(&mut expected.stale);
            let facts = dump_report::Facts { dump: &dump, name: &known.name, against: &against };
            let report = dump_report::report(&facts, outcomes, stale, ending)?;
            let ids: Vec<&str> = asked.checkpoints.iter().map(|checkpoint| checkpoint.id).collect();
            let command = format!("rbees-check run {}{}", ids.join(" "), asked.flags);
            asked.reports.write(&html::Run {
                report: &report,
                outcomes,
                command: &command,
                flags: asked.flags,
            })?;
            out.text(&asked.reports.since(earlier, &report))?;
        }
        out.line(summary)?;
        Ok(ending)
    }

    /// What was there, and where it goes wrong.
    fn close(&self, judged: &Judged, out: &mut Out) -> Result<()> {
        let coverage = &judged.coverage;
        out.line(format!("coverage: {} of {} sites{}", coverage.held, coverage.all, missing(judged)))?;
        if let Some(site) = judged.left_truth {
            out.line(format!("values leave truth at {site}"))?;
        }
        if let Some(guilty) = &judged.guilty {
            out.line(format!("computed wrongly from its own inputs: {}", spelled(guilty)))?;
        }
        Ok(())
    }
}

/// `model.layers.0`, or that it is one of several operations.
fn spelled(guilty: &Guilt) -> String {
    match &guilty.among[..] {
        [_] | [] => guilty.site.to_string(),
        among => {
            let kinds: Vec<String> = among.iter().map(ToString::to_string).collect();
            format!("{}, which is one of {}", guilty.site, kinds.join(", "))
        }
    }
}

/// `; not recorded, not judged: model.layers.1.mlp.act and 3 more`.
fn missing(judged: &Judged) -> String {
    match &judged.coverage.missing[..] {
        [] => String::new(),
        [one] => format!("; not recorded, so not judged: {one}"),
        [first, rest @ ..] => format!("; not recorded, so not judged: {first} and {} more", rest.len()),
    }
}

/// Two lines: what was recorded, and what it is judged by.
fn head(dump: &Dump, known: &Known, about_truth: &str, out: &mut Out) -> Result<()> {
    let tokens = dump.places().len();
    let said: Vec<&str> = ["attention", "recorder"]
        .iter()
        .filter_map(|key| dump.metadata.get(*key))
        .map(String::as_str)
        .collect();
    let said: String = said.iter().map(|said| format!(", {said}")).collect();
    let s = if tokens == 1 { "" } else { "s" };
    out.line(format!("{} · {tokens} token{s}, {}{said}", dump.name, dump.dtype.as_str()))?;
    let shape = known.config.as_ref().map_or("its shape is not known".to_owned(), Config::to_string);
    out.line(format!("{} · {shape}", known.name))?;
    out.line(format!("truth: {about_truth}"))?;
    if let Some(why) = &known.without {
        out.line(format!("no weights: {why}"))?;
    }
    out.line("")
}

impl Known {
    /// The model, or what is known of it without its weights.
    fn of(asked: &Asked<'_>) -> Result<Self> {
        let (name, references) = (asked.common.model(), asked.common.references.as_deref());
        let error = match asked.common.open() {
            Ok(model) => return Self::with_weights(&model),
            Err(error) => error,
        };
        // Stored truth can be compared with what nobody here could have computed.
        let fixture = references.map_or_else(|| models::fixture(name), models::references);
        if let Ok(part) = Weights::open_part(Path::new(name)) {
            let (name, config) = (name.to_owned(), Some(part.config().clone()));
            return Ok(Self { name, weights: Some(part), without: None, config, fixture: fixture.ok() });
        }
        let folder = |case: &String| Path::new(case).join("manifest.json").is_file();
        let fixture = match fixture {
            Ok(fixture) => Some(fixture),
            Err(_) if asked.cases.iter().any(folder) => None,
            Err(_) => return Err(error),
        };
        let facts = fixture.as_ref().and_then(|fixture| fixture.facts().ok());
        Ok(Self {
            name: name.to_owned(),
            weights: None,
            without: Some(error.to_string()),
            config: facts.map(|facts| dump::config_without_weights(&facts.config)),
            fixture,
        })
    }

    fn with_weights(model: &Model) -> Result<Self> {
        let weights = dump::right_weights(model)?;
        Ok(Self {
            name: model.name.clone(),
            config: Some(weights.config().clone()),
            weights: Some(weights),
            without: None,
            fixture: model.fixture.clone(),
        })
    }
}

/// The case of the dump's own prompt, and what is to be said of it.
fn case(dump: &mut Dump, known: &Known, asked: &[String]) -> Result<(Option<Reference>, String)> {
    let stored = known.fixture.iter().flat_map(|f| f.cases.iter().map(move |case| f.case(case)));
    let found = match asked {
        [] => dump.find_case(stored)?,
        [name] => {
            let case = named(known, name)?;
            match dump.other_prompt(&case) {
                Some(how) => return Err(dump.of_another_prompt(name, &how)),
                None => Ok(case),
            }
        }
        _ => return Err(Error::input("--case: a dump is of one prompt", "give one case, or none")),
    };
    Ok(match found {
        Ok(case) => {
            let moved = dump.takes_positions_of(&case).map_or(String::new(), |moved| format!("; {moved}"));
            let said = format!("case {}, which has these token ids{moved}", case.manifest.case);
            (Some(case), said)
        }
        Err(nearest) => (None, format!("none is stored for these token ids ({nearest})")),
    })
}

/// A case of the model's references, or a folder.
fn named(known: &Known, name: &str) -> Result<Reference> {
    match &known.fixture {
        Some(fixture) if fixture.cases.iter().any(|case| case == name) => fixture.case(name),
        _ if Path::new(name).join("manifest.json").is_file() => {
            Reference::read(&Source::Folder(name.into()), "")
        }
        Some(fixture) => fixture.case(name),
        None => {
            Err(Error::input(format!("--case {name}: no manifest.json there"), "give the folder of a case"))
        }
    }
}

/// The file of `--map`.
fn names(path: &Path) -> Result<NameMap> {
    const HINT: &str =
        "[names] \"blk.{N}.q\" = \"model.layers.{N}.self_attn.q_proj\"; docs/dump-format.md says more";
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error, HINT))?;
    let map: NameMap = toml::from_str(&text).map_err(|error| Error::file(path, error.message(), HINT))?;
    let named = |error: Error| Error::file(path, &error, error.hint().unwrap_or(HINT));
    map.check().map_err(named)?;
    Ok(map)
}
