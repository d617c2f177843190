//! The result of one case.

use serde::Serialize;

/// What is checked of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The call returned an error.
    Refused,
    /// The call panicked.
    Panicked,
    /// The axes of the result.
    Shape,
    /// The dtype of the result.
    Dtype,
    /// Every number is within its budget of the exact result.
    Values,
    /// The signed errors of each row have a mean of almost 0.
    Bias,
    /// A row alone has the same bits as in a batch.
    RowAlone,
    /// A NaN in the input appears in the result where it does in the exact result.
    Nan,
    /// A second call gives the same bits.
    Repeat,
}

impl Check {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Panicked => "panicked",
            Self::Shape => "shape",
            Self::Dtype => "dtype",
            Self::Values => "values",
            Self::Bias => "bias",
            Self::RowAlone => "row alone",
            Self::Nan => "NaN",
            Self::Repeat => "repeat",
        }
    }
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// Which check.
    pub check: Check,
    /// What was found.
    pub found: String,
    /// The name of the defect in the table of known ones, if it is there.
    pub known: Option<&'static str>,
}

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The operation's name.
    pub operation: &'static str,
    /// The dtype, as Candle calls it.
    pub dtype: &'static str,
    /// Sizes, layout and what is special about the values.
    pub case: String,
    /// Number of compared entries.
    pub entries: usize,
    /// The largest error in ulps of the result's dtype at the exact result.
    pub worst_ulps: f64,
    /// The largest error relative to the exact result.
    pub relative_error: f64,
    /// The largest error as a share of its budget: above 1 is wrong.
    pub share_of_budget: f64,
    /// The mean of |result| − |exact| in ulps; −0.5 is truncation.
    pub bias: f64,
    /// Is each row alone bit-identical to the same row in the batch? `None` if it was not tried.
    pub row_alone: Option<bool>,
    /// Does a NaN appear where it must? `None` if it was not tried.
    pub nan: Option<bool>,
    /// The failed checks.
    pub faults: Vec<Fault>,
}

/// How a row ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every check passed.
    Right,
    /// Only known defects were found.
    Known,
    /// A defect was found that is not in the table.
    New,
}

impl Row {
    /// How it ends.
    pub fn state(&self) -> State {
        match self.faults.as_slice() {
            [] => State::Right,
            faults if faults.iter().all(|fault| fault.known.is_some()) => State::Known,
            _ => State::New,
        }
    }
}
