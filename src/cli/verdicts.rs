//! Stores passing verdicts, so that a path that has passed need not be judged before every generation.
//!
//! A verdict is valid only for exactly what was judged. Everything that it depends on is part of its key, so
//! if any of it changes, the stored verdict is no longer found.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use rbees_check::files::{json, read};
use rbees_check::models::{self, Model};
use rbees_check::probe::Arithmetic;
use rbees_check::reference::Fixture;
use rbees_check::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files;

/// Size limit for reading a stored verdict, in bytes. A normal one has less than 1 kB.
const LIMIT: u64 = 64 << 10;

/// Everything that a verdict depends on.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct VerdictKey {
    model: String,
    weights_sha256: String,
    references_sha256: String,
    device: String,
    dtype: String,
    path: String,
    version: String,
    /// Size and modification time of the program, so that another build of the same version judges again.
    build: String,
}

impl VerdictKey {
    /// The key for `model`, judged with `fixture` on this device, dtype and path, by this program.
    pub fn new(model: &Model, fixture: &Fixture, device: String, dtype: &str, path: &str) -> Result<Self> {
        Ok(Self {
            model: model.name.clone(),
            weights_sha256: model.weights.sha256()?,
            references_sha256: references(fixture)?,
            device: format!("{device} {}", std::env::consts::ARCH),
            dtype: dtype.to_owned(),
            path: path.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: build().unwrap_or_default(),
        })
    }

    /// Whether exactly this has passed before.
    pub fn passed(&self) -> bool {
        // If the verdict is missing or unreadable, the model is judged again.
        let stored = || {
            let bytes = read(&self.file().ok()?, LIMIT, "remove it").ok()?;
            json::<VerdictKey>(&bytes).ok()
        };
        // If the build is unknown, it cannot be distinguished from another one.
        !self.build.is_empty() && stored().as_ref() == Some(self)
    }

    /// Stores that this has passed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remember(&self) -> Result<()> {
        let file = self.file()?;
        let failed = |error: std::io::Error| {
            Error::file(&file, error, "set RBEES_HOME to a directory you may write to")
        };
        let folder = file.parent().unwrap_or(&file);
        std::fs::create_dir_all(folder).map_err(failed)?;
        files::sweep(folder);
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        files::write(&file, &text).map_err(failed)
    }

    pub(super) fn file(&self) -> Result<PathBuf> {
        let hash = Sha256::digest(format!("{self:?}"));
        let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(models::home()?.join("verdicts").join(format!("{name}.json")))
    }
}

/// One hash of every file of the references.
pub fn references(fixture: &Fixture) -> Result<String> {
    const OF_MODEL: [&str; 5] = ["facts.json", "tokens.json", "greedy.json", "sampling.json", "sampling.npz"];
    const OF_CASE: [&str; 3] = ["manifest.json", "reference.npz", "noise.npz"];
    let of_cases = fixture.cases.iter().flat_map(|case| OF_CASE.map(|file| format!("{case}/{file}")));
    let mut all = Sha256::new();
    for path in OF_MODEL.map(str::to_owned).into_iter().chain(of_cases) {
        all.update(path.as_bytes());
        all.update(Sha256::digest(fixture.source.demand(&path)?));
    }
    let of_blocks = [Arithmetic::Blocks32, Arithmetic::Blocks256].map(Arithmetic::name);
    let files = of_blocks.map(|name| [format!("{name}.npz"), format!("{name}-noise.npz")]).concat();
    for path in fixture.cases.iter().flat_map(|case| files.iter().map(move |file| format!("{case}/{file}"))) {
        if let Some(bytes) = fixture.source.read(&path)? {
            all.update(path.as_bytes());
            all.update(Sha256::digest(bytes));
        }
    }
    Ok(format!("{:x}", all.finalize()))
}

fn build() -> Option<String> {
    let facts = std::env::current_exe().and_then(std::fs::metadata).ok()?;
    let time = facts.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} bytes, {} ns", facts.len(), time.as_nanos()))
}
