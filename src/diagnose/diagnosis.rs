//! The result of a diagnosis: the mistakes that explain a failed site.

use serde::{Deserialize, Serialize};

use super::fit::Fit;
use crate::files::{Name, float, name};
use crate::mistakes;

/// The result of diagnosing a failed site.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The mistakes that explain the site: one, two made together, or several that explain it equally well.
    /// Empty if the site is unexplained.
    pub named: Vec<Named>,
    /// The closest mistake that does not explain the site.
    pub runner_up: Option<RunnerUp>,
}

impl Diagnosis {
    /// Whether this mistake explains the site, alone or with others.
    pub(super) fn names(&self, mistake: &str) -> bool {
        self.named.iter().any(|named| named.mistake == mistake)
    }

    /// Whether a mistake of the catalogue explains the site.
    pub fn is_catalogued(&self) -> bool {
        self.named.iter().any(|named| mistakes::find(named.mistake).is_some())
    }
}

/// A mistake that explains a site.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Named {
    /// Its name in the catalogue: `rope-pairing`.
    #[serde(deserialize_with = "name")]
    pub mistake: Name,
    /// What the port does and what it should do, in the second person.
    pub says: String,
    /// How to fix it.
    pub fix: String,
    /// The distance of the predicted tensor from the port's, in budgets; 0 if an exact fingerprint identified
    /// the mistake.
    #[serde(with = "float")]
    pub residual: f64,
    /// The number of entries that differ by one rounding; they are left out of the residual.
    pub flips: usize,
    /// Other deviations that give the same tensor, as far as the recorded tensors show.
    pub same_as: Vec<Alternative>,
    /// The same as data; `None` if an exact fingerprint identified the mistake.
    pub details: Option<Details>,
}

/// What deviates where, and how strong the evidence is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Details {
    /// What deviates.
    pub part: Part,
    /// The number of deviations that were tried.
    pub tried: usize,
    /// The distance of the correct operation's tensor from the port's, in budgets.
    #[serde(with = "float")]
    pub correct_residual: f64,
    /// How strongly the port's rows contradict the correct operation, in bits.
    #[serde(with = "float")]
    pub evidence_bits: f64,
    /// The bits that the best of all tried deviations may reach by chance, and 20 more.
    #[serde(with = "float")]
    pub required_bits: f64,
}

/// The operations that deviate, and how.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Part {
    /// The first of them: `norm`.
    pub operation: String,
    /// Their sites, in the order of the pass.
    pub sites: Vec<String>,
    /// What is changed at each of them.
    pub changes: Vec<Changed>,
}

/// One change of an operation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Changed {
    /// Its kind: `eps`.
    pub kind: String,
    /// Its numbers, as the port uses them.
    pub numbers: Vec<NamedNumber>,
}

/// A number of a change.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct NamedNumber {
    /// Its name: `eps`.
    pub name: String,
    /// Its value.
    #[serde(with = "float")]
    pub value: f64,
}

/// A deviation that cannot be distinguished from the one that is named.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Alternative {
    /// Its name.
    #[serde(deserialize_with = "name")]
    pub mistake: Name,
    /// What the port would do, in the second person.
    pub says: String,
}

impl Named {
    /// A mistake identified by an exact fingerprint. Its fix comes from the catalogue, or from the list of
    /// deviations that are identified.
    pub fn new(mistake: &'static str, says: impl Into<String>) -> Self {
        let identified = || mistakes::find_identified(mistake).map(|kind| kind.fix);
        let fix =
            mistakes::find(mistake).map(|known| known.fix).or_else(identified).unwrap_or_default().to_owned();
        Self { mistake, says: says.into(), fix, residual: 0.0, flips: 0, same_as: vec![], details: None }
    }

    /// The same, with this distance from the port's tensor.
    pub(super) fn at(self, fit: Fit) -> Self {
        Self { residual: fit.residual, flips: fit.flips, ..self }
    }
}

impl From<Named> for Diagnosis {
    /// One mistake and no other.
    fn from(named: Named) -> Self {
        Self { named: vec![named], runner_up: None }
    }
}

/// A mistake that comes close to a site's tensor without explaining it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunnerUp {
    /// Its name in the catalogue.
    #[serde(deserialize_with = "name")]
    pub mistake: Name,
    /// Its distance, in budgets.
    #[serde(with = "float")]
    pub residual: f64,
}
