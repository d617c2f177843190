//! A verdict, as JSON.

use serde::{Deserialize, Serialize};

use super::Number;
use crate::{compare, judge};

/// The verdict on a site or fact. `kind` names the variant; the other fields depend on it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// Within budget.
    Pass {
        /// The share of the budget that was used; 0 if equality was required and found.
        share: Number,
    },
    /// Over its budget.
    Differs(Difference),
    /// The tensor does not have the expected shape.
    Shape {
        /// The shape that the model handed over.
        got: Vec<usize>,
        /// The shape of the reference.
        want: Vec<usize>,
    },
    /// The tensor has less precision than the run.
    LowerPrecision {
        /// The tensor's dtype.
        got: String,
        /// The run's dtype.
        want: String,
    },
    /// The budget is larger than the tensor's own values, so any value would pass.
    TooWide {
        /// How many rows have such a budget.
        rows: usize,
    },
    /// No row could be judged in this dtype.
    Incomparable,
    /// The model never handed the site over.
    NeverReached,
    /// A reference that no checkpoint judges, or a tensor that has no reference.
    Unclaimed,
    /// A law or an exact fact does not hold.
    Broken {
        /// What is wrong, in one line.
        how: String,
    },
}

/// How a tensor differs from the reference.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Difference {
    /// Elements over their row's budget.
    pub differing: usize,
    /// Elements compared.
    pub elements: usize,
    /// Elements that are NaN, infinite or masked on one side only.
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
    /// The reference value.
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
