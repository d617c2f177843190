//! Compares rows of a tensor with expected values, each under its own budget.

use candle_core::{DType, Tensor};

use super::verdict::Verdict;
use crate::Result;
use crate::compare::{Budget, Comparison, Noise, Row, Scale, Shape, Shares};
use crate::reference::Place;

/// The expected values of one row.
pub(crate) struct ExpectedRow<'a> {
    /// Its place in the batch, counting padding.
    pub place: Place,
    /// Its index in the tensor.
    pub query: usize,
    /// The expected values, `[heads, width]` or `[width]`.
    pub want: &'a [f64],
    /// The noise of correct computations there; `None` if it was not measured.
    pub noise: Option<Noise>,
    /// The largest error allowed at each entry, where entries are judged one by one too.
    pub entries: Option<&'a [f64]>,
}

/// The terms of the comparison.
pub(crate) struct Terms {
    /// How many times the noise is allowed.
    pub factor: f64,
    /// The dtype that the port computes in.
    pub dtype: DType,
    /// In this arithmetic no correct budget is close to the scale; one that is means a broken reference.
    pub fine: bool,
}

/// The result of comparing a tensor's rows.
pub(crate) struct Compared {
    /// The verdict on all of them.
    pub verdict: Verdict,
    /// How many rows could not be judged because their budget is larger than their scale.
    pub incomparable: usize,
    /// The share of its budget that each row used, if any was compared.
    pub shares: Option<Shares>,
}

impl From<Verdict> for Compared {
    /// A verdict without comparing any row.
    fn from(verdict: Verdict) -> Self {
        Self { verdict, incomparable: 0, shares: None }
    }
}

/// Compares `got`, which has `shape.dims()`, with the expected rows.
pub(crate) fn compare_rows(
    got: &Tensor,
    shape: &Shape,
    wanted: &[ExpectedRow<'_>],
    terms: &Terms,
    columns: Option<&[usize]>,
) -> Result<Compared> {
    let mut rows = RowComparison::new(got, shape, terms, columns)?;
    wanted.iter().for_each(|wanted| rows.row(wanted));
    Ok(rows.finish())
}

/// The same comparison row by row, for an expected tensor that is never in memory as a whole.
pub(crate) struct RowComparison<'a> {
    comparison: Comparison<'a>,
    terms: &'a Terms,
    compared: usize,
    too_wide: usize,
}

impl<'a> RowComparison<'a> {
    /// Starts comparing `got`, which has `shape.dims()`.
    pub fn new(
        got: &Tensor,
        shape: &'a Shape,
        terms: &'a Terms,
        columns: Option<&'a [usize]>,
    ) -> Result<Self> {
        let comparison = Comparison::new(got, shape, columns)?;
        Ok(Self { comparison, terms, compared: 0, too_wide: 0 })
    }

    /// Compares one row.
    pub fn row(&mut self, &ExpectedRow { place, query, want, noise, entries }: &ExpectedRow<'_>) {
        let scale = Scale::of(want.iter().copied());
        let budget = noise.map(|noise| Budget::derive(scale, noise, self.terms.factor, self.terms.dtype));
        match budget.filter(|budget| !budget.wider_than(scale)) {
            None => self.too_wide += 1,
            Some(budget) => {
                self.compared += 1;
                self.comparison.row(&Row { batch: place.0, query, position: place.1, want, budget, entries });
            }
        }
    }

    /// The result of all rows.
    pub fn finish(self) -> Compared {
        let Self { comparison, terms, compared, too_wide } = self;
        if too_wide > 0 && terms.fine {
            return Verdict::TooWide { rows: too_wide }.into();
        }
        if compared == 0 {
            return Compared { incomparable: too_wide, ..Verdict::Incomparable.into() };
        }
        let mut difference = comparison.difference();
        let shares = Some(std::mem::take(&mut difference.shares));
        let verdict = if difference.agrees() {
            Verdict::Pass(difference.ratio)
        } else {
            Verdict::Differs(difference.into())
        };
        Compared { verdict, incomparable: too_wide, shares }
    }
}
