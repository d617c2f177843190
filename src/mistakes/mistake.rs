//! The type of one row of the catalogue.

/// One row of the catalogue: a known mistake. Its texts address the user in the second person.
#[derive(Debug, PartialEq)]
pub struct Mistake {
    /// Row number, from 1.
    pub number: u8,
    /// `rope-pairing`: lower case, no spaces.
    pub name: &'static str,
    /// What the port does wrong, in one line.
    pub title: &'static str,
    /// What a user notices.
    pub symptom: &'static str,
    /// How the mistake shows in the tensors.
    pub fingerprint: &'static str,
    /// The checkpoints that judge the stage where the mistake is made. Checkpoints 06, 07 and 09 run whole
    /// blocks and models, so they may fail too.
    pub at: &'static [&'static str],
    /// Where it happened: public issues and commits, `owner/repo#N`.
    pub wild: &'static [&'static str],
    /// How to fix it.
    pub fix: &'static str,
    /// A mistake, or a correct difference that is easily taken for one.
    pub kind: Kind,
}

/// Whether a row of the catalogue is a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The port is wrong.
    Mistake,
    /// The port is right: two correct programs may differ in this way.
    Harmless,
}
