//! A part of this project, and who computes it.

/// Who computes a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// An operation of Candle.
    Candle,
    /// Code of this project.
    Ours,
}

impl Choice {
    /// Its name in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Candle => "Candle",
            Self::Ours => "ours",
        }
    }
}

/// A part of this project.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What it computes.
    pub component: &'static str,
    /// Who computes it.
    pub choice: Choice,
    /// The operation of [`operations`](crate::bench::operations) whose results are shown, and the dtype in which it is called.
    pub operation: Option<(&'static str, &'static str)>,
    /// The reason for the choice.
    pub why: &'static str,
    /// The file of the code.
    pub file: &'static str,
    /// For a part that Candle computes: the import and the call in that file. For a part of our own: the comment there
    /// that gives the reason.
    pub evidence: &'static [&'static str],
}

/// The heads of the columns that depend on the table alone.
pub const FIXED: [&str; 4] = ["component", "Candle or ours", "why", "where"];

impl Part {
    /// The columns that depend on the table alone, in the order of [`FIXED`].
    pub fn fixed(&self) -> [String; 4] {
        let evidence = match self.choice {
            Choice::Candle => format!(": `{}`", self.evidence[0]),
            Choice::Ours => String::new(),
        };
        [
            self.component.to_owned(),
            self.choice.name().to_owned(),
            self.why.to_owned(),
            format!("`{}`{evidence}", self.file),
        ]
    }
}
