//! A verdict, as JSON.

use serde::{Deserialize, Serialize};

use super::Number;
use crate::{compare, judge};

/// What became of a site or fact. `kind` says which of these it is; the rest stands beside it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// Within budget.
    Pass {
        /// The share of it that was used; 0 where equality was demanded and found.
        share: Number,
    },
    /// Past its budget.
    Differs(Difference),
    /// Not the tensor that was to be judged.
    Shape {
        /// What the model handed over.
        got: Vec<usize>,
        /// What the reference holds.
        want: Vec<usize>,
    },
    /// A tensor of less precision than the run's.
    LowerPrecision {
        /// Its dtype.
        got: String,
        /// The run's.
        want: String,
    },
    /// Budgets past the tensor's own scale: it could not fail.
    TooWide {
        /// Rows whose budget is too wide.
        rows: usize,
    },
    /// No row could be judged in this dtype.
    Incomparable,
    /// The model never handed the site over.
    NeverReached,
    /// A reference that no checkpoint judges, or a tensor that no reference knows.
    Unclaimed,
    /// A law or an exact fact does not hold.
    Broken {
        /// How, in one line.
        how: String,
    },
}

/// How a tensor differs from truth.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Difference {
    /// Elements past their row's budget.
    pub differing: usize,
    /// Elements compared.
    pub elements: usize,
    /// Elements that are NaN, infinite or barred on one side only.
    pub not_finite: usize,
    /// Largest error / budget, over elements and over root mean squares of rows.
    pub ratio: Number,
    /// The element with the largest error / budget.
    pub worst: Option<Element>,
    /// The first element that differs, in memory order.
    pub first: Option<Element>,
    /// Where along each axis it differs, in words.
    pub pattern: String,
}

/// One element of a compared tensor.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Element {
    /// `[batch, head, position, column]`, or `[batch, position, column]`.
    pub index: Vec<usize>,
    /// What the model computed.
    pub got: Number,
    /// Truth.
    pub want: Number,
    /// Allowed error.
    pub budget: Number,
}

impl Verdict {
    pub(super) fn of(verdict: &judge::Verdict) -> Self {
        use judge::Verdict as Judged;
        match verdict {
            Judged::Pass(share) => Self::Pass { share: Number(*share) },
            Judged::Differs(difference) => Self::Differs(Difference::of(difference)),
            Judged::Shape { got, want } => Self::Shape { got: got.clone(), want: want.clone() },
            &Judged::LowerPrecision { got, want } => {
                Self::LowerPrecision { got: got.into(), want: want.into() }
            }
            &Judged::TooWide { rows } => Self::TooWide { rows },
            Judged::Incomparable => Self::Incomparable,
            Judged::NeverReached => Self::NeverReached,
            Judged::Unclaimed => Self::Unclaimed,
            Judged::Broken(how) => Self::Broken { how: how.clone() },
        }
    }
}

impl Difference {
    fn of(difference: &compare::Difference) -> Self {
        Self {
            differing: difference.differing,
            elements: difference.elements,
            not_finite: difference.unlike,
            ratio: Number(difference.ratio),
            worst: difference.worst.as_ref().map(Element::of),
            first: difference.first.as_ref().map(Element::of),
            pattern: difference.along.to_string(),
        }
    }
}

impl Element {
    fn of(element: &compare::Element) -> Self {
        Self {
            index: element.index.clone(),
            got: Number(element.got),
            want: Number(element.want),
            budget: Number(element.budget),
        }
    }
}
