//! The files that every bundle contains besides its recording and its README.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::weights;
use crate::judge::Finding;
use crate::probe::Site;
use crate::reference::Reference;
use crate::report::json;
use crate::weights::{Config, Weights};
use crate::{Error, Result};

/// Path and content of each file, ordered by path.
pub(super) type BundleFiles = BTreeMap<String, Vec<u8>>;

/// A failing site, and what is needed to judge it again.
pub(super) struct Parts<'a> {
    pub site: Site,
    pub finding: &'a Finding,
    /// The case of its prompt, if one is stored, and the sites of that case to store.
    pub case: Option<(&'a Reference, BTreeSet<Site>)>,
    pub config: Option<&'a Config>,
    pub weights: Option<&'a Weights>,
    /// The weight tensors to store.
    pub names: &'a [String],
}

impl Parts<'_> {
    /// The case, the config, the weights and the verdict as files.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub(super) fn files(&self) -> Result<BundleFiles> {
        let mut files = BundleFiles::new();
        if let Some((case, stored)) = &self.case {
            let why =
                format!("to {} and its inputs, by rbees-check {}", self.site, env!("CARGO_PKG_VERSION"));
            let folder = folder(&case.manifest.case);
            for (name, bytes) in case.reduced(stored, &why).map_err(unwritten)? {
                files.insert(format!("{folder}/{name}"), bytes);
            }
        }
        if let Some(config) = self.config {
            files.insert("config.json".into(), weights::config(config, self.site));
            // The file is written even if it has no tensors, because the config declares part of a model.
            files.insert("model.safetensors".into(), weights::safetensors(self.weights, self.names)?);
        }
        let finding = serde_json::to_vec_pretty(&json::Finding::of(self.finding));
        files.insert("finding.json".into(), finding.map_err(|error| unwritten(error.into()))?);
        Ok(files)
    }
}

/// The error for a file of a bundle that cannot be written.
pub(super) fn unwritten(error: io::Error) -> Error {
    Error::internal(format!("bundle: {error}"))
}

/// A folder name for the case. Its own name may come from any file, so other characters are replaced.
pub(super) fn folder(case: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = case.chars().map(plain).collect();
    if name.is_empty() { "case".into() } else { name }
}

/// The list of weights for a README.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "none: this operation uses no weights".to_owned(),
        names => names.join(", "),
    }
}
