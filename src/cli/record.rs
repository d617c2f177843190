//! `record`: writes a case with references from the project's own oracle.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::DType;
use clap::Args;
use rbees_check::model::Matmul;
use rbees_check::{Error, Result};

use super::common::{self, DEFAULT_MODEL};
use super::ending::Ending;
use super::paint::Out;
use super::progress::Progress;
use super::{interrupt, own, threads};

#[derive(Args, Debug)]
pub struct Record {
    /// Model to record: a .gguf file, a Hugging Face directory, or a name that `list` prints
    /// [default: tiny-llama]
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Text to run the model on
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// New folder for the case; `run --case DIR` checks against it
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Record {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        threads::start(self.threads)?;
        interrupt::heed();
        let folder = NewFolder::create(&self.output)?;
        let progress = Progress::start("reading the model");
        let model = common::open(self.model.as_deref().unwrap_or(DEFAULT_MODEL))?;
        progress.now("computing references in float64, and noise in f32, bf16 and f16");
        let matmuls = if model.weights.is_quantized() { &[Matmul::Quantized][..] } else { &[] };
        let dtypes = vec![DType::F32, DType::BF16, DType::F16];
        let mut case = own::case(&model, &self.prompt, dtypes, matmuls)?;
        case.manifest.case = folder.name();
        case.manifest.provenance.insert("prompt".into(), self.prompt.clone().into());
        let files = case.files().map_err(|error| Error::internal(format!("the case: {error}")))?;
        drop(progress);
        folder.fill(&files)?;
        let (sites, tokens) = (case.sites().count(), case.places().len());
        out.line(format!(
            "{}: {sites} sites of {tokens} token{} from the project's own oracle; \
             check a port with `rbees-check run --model {} --case {}`",
            self.output.display(),
            if tokens == 1 { "" } else { "s" },
            model.name,
            self.output.display()
        ))?;
        Ok(Ending::Passed)
    }
}

/// A folder that appears only when all its files are written.
struct NewFolder {
    path: PathBuf,
    unfinished: tempfile::TempDir,
}

impl NewFolder {
    fn create(path: &Path) -> Result<Self> {
        let hint = "name a new folder, in a folder that exists and that you may write to";
        match path.symlink_metadata() {
            // A link that leads nowhere is there, too.
            Ok(_) => return Err(Error::file(path, "already exists", hint)),
            Err(_) if path.file_name().is_none() => return Err(Error::file(path, "already exists", hint)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file(path, error, hint)),
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let unfinished = tempfile::Builder::new().prefix(".rbees-check-").tempdir_in(parent);
        let unfinished = unfinished.map_err(|error| Error::file(path, error, hint))?;
        Ok(Self { path: path.to_owned(), unfinished })
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn fill(self, files: &[(String, Vec<u8>)]) -> Result<()> {
        let failed = |error: std::io::Error| Error::file(&self.path, error, "is the disk full?");
        for (name, bytes) in files {
            fs::write(self.unfinished.path().join(name), bytes).map_err(failed)?;
        }
        open_to_readers(self.unfinished.path()).map_err(failed)?;
        fs::rename(self.unfinished.path(), &self.path).map_err(failed)?;
        // Nothing is left to remove.
        let _ = self.unfinished.keep();
        Ok(())
    }
}

/// A temporary folder can be read by its owner only.
#[cfg(unix)]
fn open_to_readers(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open_to_readers(_: &Path) -> std::io::Result<()> {
    Ok(())
}
