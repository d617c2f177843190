//! What is known about whether the served path computes correctly.

use sha2::{Digest, Sha256};

/// The result of the checks before the server started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every checkpoint has passed.
    Passed(Verdict),
    /// The model has no references; it is consistent, and agrees with this program's own oracle in three layers.
    Own(Verdict),
    /// Nothing was checked, because the command said so.
    Unchecked,
}

/// The JSON report of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub report: String,
    /// The SHA-256 of the report, in hexadecimal.
    pub sha256: String,
}

impl Verdict {
    pub fn new(report: String) -> Self {
        let sha256 = Sha256::digest(&report).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { report, sha256 }
    }
}

impl Standing {
    /// The word for it in answers and headers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Own(_) => "own",
            Self::Unchecked => "unchecked",
        }
    }

    /// The report, if anything was checked.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Passed(verdict) | Self::Own(verdict) => Some(verdict),
            Self::Unchecked => None,
        }
    }
}
