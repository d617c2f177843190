//! The files that every bundle has beside its recording and its README.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::weights;
use crate::judge::Finding;
use crate::probe::Site;
use crate::reference::Reference;
use crate::report::json;
use crate::weights::{Config, Weights};
use crate::{Error, Result};

/// Path and content, in the order of the paths.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What a red site is judged by.
pub(super) struct Parts<'a> {
    pub site: Site,
    pub finding: &'a Finding,
    /// The case of its prompt, if one is stored, and the sites of it that are kept.
    pub case: Option<(&'a Reference, BTreeSet<Site>)>,
    pub config: Option<&'a Config>,
    pub weights: Option<&'a Weights>,
    /// The tensors of the weights that are kept.
    pub names: &'a [String],
}

impl Parts<'_> {
    /// The case, the config, the weights and the verdict, each as files.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub(super) fn files(&self) -> Result<Files> {
        let mut files = Files::new();
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
            // Without weights the file is empty, and still there: the config says that it holds a part of a model.
            files.insert("model.safetensors".into(), weights::safetensors(self.weights, self.names)?);
        }
        let finding = serde_json::to_vec_pretty(&json::Finding::of(self.finding));
        files.insert("finding.json".into(), finding.map_err(|error| unwritten(error.into()))?);
        Ok(files)
    }
}

/// A file of a bundle cannot be made.
pub(super) fn unwritten(error: io::Error) -> Error {
    Error::internal(format!("bundle: {error}"))
}

/// A case may have been read from anywhere: its name becomes one of a folder.
pub(super) fn folder(case: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = case.chars().map(plain).collect();
    if name.is_empty() { "case".into() } else { name }
}

/// The weights as a README lists them.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "none: this operation uses no weights".to_owned(),
        names => names.join(", "),
    }
}
