//! All references of one model: its cases, and the facts about the model as a whole.

use std::borrow::Cow;
use std::collections::BTreeSet;

use safetensors::Dtype;
use serde::de::DeserializeOwned;

use super::read::{hex, no_other, typed};
use super::sampling::SamplingFile;
use super::source::{REGENERATE, Source};
use super::{Facts, Greedy, Reference, Sampling, Tokens};
use crate::{Error, Result};

/// The name of the case if the source itself is the case, not a folder of cases.
const ITSELF: &str = ".";

const FACTS: &str = "facts.json";

/// All references of one model.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Where the files are.
    pub source: Source,
    /// Names of the cases in alphabetical order; `.` if the source itself is a case.
    pub cases: Vec<String>,
}

impl Fixture {
    /// Opens the references in `source`.
    ///
    /// # Errors
    /// It contains no case; a fixture without cases proves nothing.
    pub fn open(source: Source) -> Result<Self> {
        let cases = match source.read("manifest.json")? {
            Some(_) => vec![ITSELF.to_owned()],
            None => source.cases()?,
        };
        if cases.is_empty() {
            return Err(Error::input(format!("{}: no cases", source.name_of("")), REGENERATE));
        }
        Ok(Self { source, cases })
    }

    /// Case `name`.
    pub fn case(&self, name: &str) -> Result<Reference> {
        if !self.cases.iter().any(|case| case == name) {
            let hint = format!("the cases are {}", self.cases.join(", "));
            return Err(Error::input(format!("{}: no case `{name}`", self.source.name_of("")), hint));
        }
        Reference::read(&self.source, if name == ITSELF { "" } else { name })
    }

    /// Does it contain facts about the model as a whole? If one of their files exists, all are required.
    ///
    /// # Errors
    /// A file exists but cannot be read.
    pub fn has_facts(&self) -> Result<bool> {
        for file in ["facts.json", "tokens.json", "greedy.json", "sampling.json"] {
            if self.source.read(file)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Config and tensors.
    ///
    /// # Errors
    /// The file is missing, damaged, or has another format version. The same holds for the methods below.
    pub fn facts(&self) -> Result<Facts> {
        let facts: Facts = self.source.json(FACTS)?;
        self.right(FACTS, (facts.format, Facts::FORMAT), facts.fault())?;
        Ok(facts)
    }

    /// Token ids of texts.
    ///
    /// # Errors
    /// In addition, the file may not be the one that `facts.json` lists. The same holds for the methods
    /// below.
    pub fn tokens(&self) -> Result<Tokens> {
        let tokens: Tokens = self.listed("tokens.json")?;
        self.right("tokens.json", (tokens.format, 1), tokens.fault())?;
        Ok(tokens)
    }

    /// Greedy continuations.
    pub fn greedy(&self) -> Result<Greedy> {
        let greedy: Greedy = self.listed("greedy.json")?;
        self.right("greedy.json", (greedy.format, 1), greedy.fault())?;
        Ok(greedy)
    }

    /// Sampling distributions.
    pub fn sampling(&self) -> Result<Sampling> {
        let file: SamplingFile = self.listed("sampling.json")?;
        self.right("sampling.json", (file.format, 1), file.fault())?;
        self.unaltered("sampling.npz")?;
        let arrays = self.source.arrays("sampling.npz")?;
        let keys: BTreeSet<&str> = file.cases.iter().map(|case| case.key.as_str()).collect();
        no_other(&arrays, |name| name == "logits" || keys.contains(name))?;
        let vocab = arrays.entry("logits").map_or(vec![0], |entry| entry.shape.clone());
        let (logits, _) = typed(&arrays, "logits", Dtype::F32, &vocab)?;
        let cases = file.cases.into_iter().map(|mut case| {
            case.probabilities = typed(&arrays, &case.key, Dtype::F64, &vocab)?.0;
            Ok(case)
        });
        let cases = cases.collect::<Result<_>>()?;
        Ok(Sampling { logits: logits.into_iter().map(|v| v as f32).collect(), cases })
    }

    /// Reads the file `name`, whose hash must match `facts.json`.
    fn unaltered(&self, name: &str) -> Result<Cow<'static, [u8]>> {
        let (listed, bytes) = (self.facts()?.files, self.source.demand(name)?);
        match listed.get(name) {
            Some(sha256) if *sha256 == hex(&bytes) => Ok(bytes),
            Some(_) => Err(self.fault(name, "it does not match facts.json (SHA-256)")),
            None => Err(self.fault(FACTS, &format!("it does not list {name}"))),
        }
    }

    fn listed<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let bytes = self.unaltered(name)?;
        self.source.parse(name, &bytes)
    }

    /// Checks that the file `name` has the supported format version and no fault.
    fn right(&self, name: &str, (format, read): (u32, u32), fault: Option<String>) -> Result<()> {
        match fault {
            _ if format != read => Err(self.fault(
                name,
                &format!("it has format version {format}, but this program reads version {read}"),
            )),
            Some(fault) => Err(self.fault(name, &fault)),
            None => Ok(()),
        }
    }

    fn fault(&self, name: &str, what: &str) -> Error {
        Error::input(format!("{}: {what}", self.source.name_of(name)), REGENERATE)
    }
}
