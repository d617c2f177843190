//! A row of the catalogue.

/// One row of the catalogue.
#[derive(Debug, PartialEq)]
pub struct Mistake {
    /// Its row, from 1.
    pub number: u8,
    /// `rope-pairing`: lower case, no blanks.
    pub name: &'static str,
    /// What is wrong, in one line.
    pub title: &'static str,
    /// What a user sees of it.
    pub symptom: &'static str,
    /// By what its tensors are known.
    pub fingerprint: &'static str,
    /// The checkpoints whose own stage it is in. 06, 07 and 09, which run whole blocks and models,
    /// may turn red with them.
    pub at: &'static [&'static str],
    /// Where it happened: public issues and changes, `owner/repo#N`.
    pub wild: &'static [&'static str],
    /// How to put it right.
    pub fix: &'static str,
    /// A mistake, or what is easily taken for one and is none.
    pub kind: Kind,
}

/// A mistake, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The port is wrong.
    Mistake,
    /// The port is right: two correct programs may differ so.
    Honest,
}
