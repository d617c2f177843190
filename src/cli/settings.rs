//! `rbees-check.toml`: the settings of a project, and its expected failures.

use std::path::{Path, PathBuf};

use rbees_check::checkpoints::How;
use rbees_check::probe::Site;
use rbees_check::{Error, Result, files, models};
use serde::Deserialize;
use toml::Spanned;

use super::choices::{AttentionChoice as Attention, Dtype};
use super::expect::Expectation;
use super::suggest;

/// The file is searched for in the current directory, then in its parents.
const NAME: &str = "rbees-check.toml";
/// Size limit in bytes. The file is written by hand.
const LIMIT: u64 = 1 << 20;
const HINT: &str = "the keys are model, references, cases, dtype, attention and [[expect]]; see docs/ci.md";

/// Settings that the file may give instead of flags. All are empty if there is no file.
#[derive(Debug, Default)]
pub struct Settings {
    /// The file that was found.
    pub file: Option<PathBuf>,
    pub model: Option<String>,
    pub references: Option<String>,
    pub cases: Vec<String>,
    pub dtype: Option<Dtype>,
    pub attention: Option<Attention>,
    pub expected: Vec<Expectation>,
}

/// The file's contents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    model: Option<String>,
    references: Option<String>,
    #[serde(default)]
    cases: Vec<String>,
    dtype: Option<Dtype>,
    attention: Option<Attention>,
    #[serde(default)]
    expect: Vec<Spanned<Expect>>,
}

/// An expected failure in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    checkpoint: Spanned<String>,
    site: Option<Spanned<String>>,
    case: Option<String>,
    reason: Spanned<String>,
}

impl Settings {
    /// Finds the settings that apply in the current directory.
    ///
    /// # Errors
    /// The file cannot be read, or contains something invalid; the error gives file, line and problem.
    pub fn find() -> Result<Self> {
        let hint = "change to a directory that exists";
        let here = std::env::current_dir()
            .map_err(|error| Error::input(format!("the current directory: {error}"), hint))?;
        for folder in here.ancestors() {
            let file = folder.join(NAME);
            if let Some(text) = files::read_text_if_there(&file, LIMIT, "check that the file can be read")? {
                return Self::parse(&text, &file, folder == here);
            }
        }
        Ok(Self::default())
    }

    /// Parses `text`, the contents of `file`; `here` says whether the file is in the current directory.
    fn parse(text: &str, file: &Path, here: bool) -> Result<Self> {
        let shown = if here { PathBuf::from(NAME) } else { file.to_owned() };
        let line = |at: usize| text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1;
        let origin = |at: usize| format!("{}:{}", shown.display(), line(at));
        let written: Written = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            Error::input(format!("{}: {}", origin(at), error.message().replace('\n', " ")), HINT)
        })?;
        let folder = if here { Path::new("") } else { file.parent().unwrap_or(Path::new("")) };
        let expected = written.expect.into_iter().map(|expect| {
            let start = origin(expect.span().start);
            expectation(expect.into_inner(), start, &origin)
        });
        Ok(Self {
            model: written.model.map(|model| beside(folder, model)),
            references: written.references.map(|references| beside(folder, references)),
            cases: written.cases.into_iter().map(|case| captured(folder, case)).collect(),
            dtype: written.dtype,
            attention: written.attention,
            expected: expected.collect::<Result<_>>()?,
            file: Some(shown),
        })
    }
}

/// Resolves a path relative to the settings file; names of models stay as they are.
fn beside(folder: &Path, value: String) -> String {
    if models::NAMES.contains(&value.as_str()) { value } else { folder.join(value).display().to_string() }
}

/// Resolves the folder of a captured case relative to the settings file; names of cases stay as they are.
fn captured(folder: &Path, value: String) -> String {
    let path = folder.join(&value);
    if path.join("manifest.json").is_file() { path.display().to_string() } else { value }
}

fn expectation(expect: Expect, start: String, origin: &impl Fn(usize) -> String) -> Result<Expectation> {
    let wrong = |at: &Spanned<String>, problem: &str, hint: &str| {
        Error::input(format!("{}: {problem}", origin(at.span().start)), hint)
    };
    let id = &expect.checkpoint;
    let checkpoint = suggest::checkpoint(id.get_ref())
        .map_err(|error| wrong(id, &error.to_string(), error.hint().unwrap_or_default()))?;
    if let Some(site) = &expect.site
        && matches!(checkpoint.how, How::Sites(..))
    {
        let unknown = |error: Error| wrong(site, &error.to_string(), error.hint().unwrap_or_default());
        site.get_ref().parse::<Site>().map_err(unknown)?;
    }
    if expect.reason.get_ref().trim().is_empty() {
        let hint = "say why this failure is expected, for later readers of the file";
        return Err(wrong(&expect.reason, "the reason is empty", hint));
    }
    Ok(Expectation {
        checkpoint,
        site: expect.site.map(Spanned::into_inner),
        case: expect.case,
        reason: expect.reason.into_inner(),
        origin: start,
    })
}
