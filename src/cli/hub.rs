//! `--model hf:owner/name[@revision][:file.gguf]`: downloads a model from the hub, into the hub's own cache.
//!
//! `HF_TOKEN`, `HF_ENDPOINT`, `HF_HOME` and `HF_HUB_OFFLINE` have their usual meaning.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};
use rbees_check::{Error, Result};

/// The files of a Hugging Face directory that are read, besides weights.
const TEXTS: [&str; 4] = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];

/// A model on the hub.
#[derive(Debug, PartialEq)]
struct Named<'a> {
    /// As the user wrote it.
    whole: &'a str,
    /// `owner/name`.
    repository: &'a str,
    /// A branch, a tag or a commit.
    revision: &'a str,
    /// A GGUF file in it; otherwise the whole directory is meant.
    file: Option<&'a str>,
}

/// Downloads the model `name`, unless it is in the cache. Returns the path of its file or folder.
///
/// # Errors
/// The name is no name of a model on the hub, the hub does not have it or does not allow it, or the download fails.
pub fn fetch(name: &str) -> Result<PathBuf> {
    let named = Named::parse(name)?;
    let repository = |revision: &str| {
        Repo::with_revision(named.repository.to_owned(), RepoType::Model, revision.to_owned())
    };
    let cache = Cache::from_env();
    if set("HF_HUB_OFFLINE").is_some_and(|value| value != "0") {
        let first = named.file.unwrap_or(TEXTS[0]);
        let path = cache.repo(repository(named.revision)).get(first);
        let path =
            path.ok_or_else(|| named.refused("it is not in the cache, and HF_HUB_OFFLINE is set", OFFLINE))?;
        return Ok(if named.file.is_some() { path } else { folder(&path) });
    }
    let builder = ApiBuilder::from_env();
    let builder = match set("HF_TOKEN") {
        Some(token) => builder.with_token(Some(token)),
        None => builder,
    };
    let api = builder.build().map_err(|error| named.failed(&error))?;
    let at_revision = api.repo(repository(named.revision));
    if let Some(file) = named.file {
        return match cache.repo(repository(named.revision)).get(file) {
            Some(path) => Ok(path),
            None => named.download(&at_revision, file),
        };
    }
    // All files come from one commit, also if the branch moves in between.
    let info = at_revision.info().map_err(|error| named.failed(&error))?;
    let files: Vec<&str> =
        info.siblings.iter().map(|file| file.rfilename.as_str()).filter(|f| is_read(f)).collect();
    if !files.contains(&TEXTS[0]) {
        let of_gguf = info.siblings.iter().map(|file| file.rfilename.as_str()).find(|f| f.ends_with(".gguf"));
        let hint = match of_gguf {
            Some(file) => format!("name one of its files: {name}:{file}"),
            None => "name a repository with a config.json, or one of its .gguf files: owner/name:FILE".into(),
        };
        return Err(named.refused("the repository has no config.json", &hint));
    }
    if !plain(&info.sha) {
        return Err(named.refused("the hub gives no commit", "check HF_ENDPOINT"));
    }
    let at_commit = api.repo(repository(&info.sha));
    let mut config = None;
    for file in files {
        let path = match cache.repo(repository(&info.sha)).get(file) {
            Some(path) => path,
            None => named.download(&at_commit, file)?,
        };
        config = config.or((file == TEXTS[0]).then_some(path));
    }
    // So that the cache finds the files under the name of the branch, too.
    let cached = cache.repo(repository(named.revision)).create_ref(&info.sha);
    cached
        .map_err(|error| named.refused(&format!("the cache cannot be written: {error}"), "check HF_HOME"))?;
    Ok(folder(&config.ok_or_else(|| Error::internal("config.json was not downloaded"))?))
}

const OFFLINE: &str = "unset HF_HUB_OFFLINE, or download the model first";

/// The value of an environment variable that is set and not empty.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).to_owned()
}

/// Is this file of a repository read? Names with a path are not, so a hub cannot write elsewhere.
fn is_read(file: &str) -> bool {
    let weights = file.ends_with(".safetensors") || file.ends_with(".safetensors.index.json");
    plain(file) && (weights || TEXTS.contains(&file))
}

/// A name of letters, digits, dots, dashes and underscores that does not begin with a dot.
fn plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

impl<'a> Named<'a> {
    fn parse(whole: &'a str) -> Result<Self> {
        let rest = whole.strip_prefix("hf:").unwrap_or(whole);
        let (rest, file) = match rest.split_once(':') {
            Some((rest, file)) => (rest, Some(file)),
            None => (rest, None),
        };
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let parts: Vec<&str> = repository.split('/').collect();
        let fine = parts.len() == 2
            && parts.into_iter().all(plain)
            && revision.split('/').all(plain)
            && file.is_none_or(|file| file.ends_with(".gguf") && file.split('/').all(plain));
        if !fine {
            let what = format!("`{whole}` does not name a model on the hub");
            return Err(Error::input(
                what,
                "write hf:owner/name, hf:owner/name@revision or hf:owner/name:file.gguf",
            ));
        }
        Ok(Self { whole, repository, revision, file })
    }

    /// Downloads a file, and checks its length.
    fn download(&self, repository: &ApiRepo, file: &str) -> Result<PathBuf> {
        let meter = Meter::new(file);
        let (total, bar) = (meter.total.clone(), meter.bar.clone());
        let path = repository.download_with_progress(file, meter);
        bar.finish_and_clear();
        let path = path.map_err(|error| self.failed(&error))?;
        let length = fs::metadata(&path).map_or(0, |facts| facts.len());
        let expected = total.load(Ordering::Relaxed) as u64;
        if length == expected {
            return Ok(path);
        }
        // The link, and the file that it points to.
        let _ = fs::canonicalize(&path).map(fs::remove_file);
        let _ = fs::remove_file(&path);
        let what = format!("{file} has {length} bytes, but the hub says {expected}; it was removed");
        Err(self.refused(&what, "try again; if it happens again, the hub or a proxy is broken"))
    }

    fn refused(&self, what: &str, hint: &str) -> Error {
        Error::input(format!("{}: {what}", self.whole), hint)
    }

    /// What an error of the hub means.
    fn failed(&self, error: &ApiError) -> Error {
        let status = match error {
            ApiError::RequestError(error) => match &**error {
                ureq::Error::Status(code, _) => Some(*code),
                ureq::Error::Transport(_) => None,
            },
            _ => None,
        };
        match (status, error) {
            (Some(404), _) => self.refused(
                "the hub has no such repository, revision or file",
                "check the name; for a private repository, set HF_TOKEN",
            ),
            (Some(code @ (401 | 403)), _) => self.refused(
                &format!("the hub does not allow access ({code})"),
                "accept the model's licence on the hub, and set HF_TOKEN to your token",
            ),
            (Some(code), _) => {
                self.refused(&format!("the hub answers with status {code}"), "try again later")
            }
            (None, ApiError::IoError(error)) => self.refused(
                &format!("the download stopped: {error}"),
                "run again: it continues where it stopped",
            ),
            (None, ApiError::RequestError(_)) => self.refused(
                "the hub cannot be reached",
                "check the connection and HF_ENDPOINT, or set HF_HUB_OFFLINE=1",
            ),
            (None, error) => self
                .refused(&error.to_string(), "check HF_ENDPOINT: this server does not answer like the hub"),
        }
    }
}

/// A progress bar, which also keeps the length that the hub states.
struct Meter {
    bar: ProgressBar,
    total: Arc<AtomicUsize>,
}

impl Meter {
    fn new(file: &str) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(file.to_owned());
        Self { bar, total: Arc::default() }
    }
}

impl Progress for Meter {
    fn init(&mut self, size: usize, _: &str) {
        self.total.store(size, Ordering::Relaxed);
        self.bar.set_length(size as u64);
        self.bar.set_position(0);
    }

    fn update(&mut self, size: usize) {
        self.bar.inc(size as u64);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("hf:owner/name", Some(("owner/name", "main", None)))]
    #[case("hf:owner/name@v1.0", Some(("owner/name", "v1.0", None)))]
    #[case("hf:owner/name:model.Q4_0.gguf", Some(("owner/name", "main", Some("model.Q4_0.gguf"))))]
    #[case("hf:owner/name@refs/pr/1:gguf/a.gguf", Some(("owner/name", "refs/pr/1", Some("gguf/a.gguf"))))]
    #[case("hf:name", None)]
    #[case("hf:a/b/c", None)]
    #[case("hf:../name", None)]
    #[case("hf:owner/name@../x", None)]
    #[case("hf:owner/name:../a.gguf", None)]
    #[case("hf:owner/name:model.bin", None)]
    #[case("hf:owner/", None)]
    fn a_name_has_a_repository_a_revision_and_a_file(
        #[case] name: &str,
        #[case] parts: Option<(&str, &str, Option<&str>)>,
    ) {
        let named = Named::parse(name).ok();
        assert_eq!(named.map(|named| (named.repository, named.revision, named.file)), parts);
    }

    #[rstest]
    #[case("config.json", true)]
    #[case("model-00001-of-00002.safetensors", true)]
    #[case("model.safetensors.index.json", true)]
    #[case("../config.json", false)]
    #[case("onnx/model.safetensors", false)]
    #[case(".safetensors", false)]
    #[case("pytorch_model.bin", false)]
    fn only_the_files_of_a_model_are_downloaded(#[case] file: &str, #[case] read: bool) {
        assert_eq!(is_read(file), read);
    }
}
