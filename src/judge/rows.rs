//! Rows of one tensor against what they should be, each under its own budget.

use candle_core::{DType, Tensor};

use super::verdict::Verdict;
use crate::Result;
use crate::compare::{Budget, Comparison, Noise, Row, Scale, Shape, Shares};
use crate::reference::Place;

/// What one row should be.
pub(crate) struct Wanted<'a> {
    /// Where it stands in the batch, padding counted.
    pub place: Place,
    /// Where it stands in the tensor.
    pub query: usize,
    /// What it should be, `[heads, width]` or `[width]`.
    pub want: &'a [f64],
    /// What honest computations err by there; none where that was not measured.
    pub noise: Option<Noise>,
}

/// How the rows of a tensor are held to what they should be.
pub(crate) struct Terms {
    /// How many times the noise is allowed.
    pub factor: f64,
    /// What the port computes in.
    pub dtype: DType,
    /// No honest budget comes near the scale here: one that does is a broken reference.
    pub fine: bool,
}

/// What became of a tensor's rows.
pub(crate) struct Said {
    /// Of all of them.
    pub verdict: Verdict,
    /// How many could not be judged, their budget being past their scale.
    pub incomparable: usize,
    /// What each used of its budget, if any was compared.
    pub shares: Option<Shares>,
}

impl From<Verdict> for Said {
    /// Without a look at any row.
    fn from(verdict: Verdict) -> Self {
        Self { verdict, incomparable: 0, shares: None }
    }
}

/// Holds `got`, which has `shape.dims()`, to what it should be.
pub(crate) fn hold(
    got: &Tensor,
    shape: &Shape,
    wanted: &[Wanted<'_>],
    terms: &Terms,
    columns: Option<&[usize]>,
) -> Result<Said> {
    let mut holding = Holding::new(got, shape, terms, columns)?;
    wanted.iter().for_each(|wanted| holding.row(wanted));
    Ok(holding.said())
}

/// The same row by row, where what a tensor should be does not exist as a whole.
pub(crate) struct Holding<'a> {
    comparison: Comparison<'a>,
    terms: &'a Terms,
    compared: usize,
    too_wide: usize,
}

impl<'a> Holding<'a> {
    /// Of `got`, which has `shape.dims()`.
    pub fn new(
        got: &Tensor,
        shape: &'a Shape,
        terms: &'a Terms,
        columns: Option<&'a [usize]>,
    ) -> Result<Self> {
        let comparison = Comparison::new(got, shape, columns)?;
        Ok(Self { comparison, terms, compared: 0, too_wide: 0 })
    }

    /// Holds one row to what it should be.
    pub fn row(&mut self, &Wanted { place, query, want, noise }: &Wanted<'_>) {
        let scale = Scale::of(want.iter().copied());
        let budget = noise.map(|noise| Budget::derive(scale, noise, self.terms.factor, self.terms.dtype));
        match budget.filter(|budget| !budget.wider_than(scale)) {
            None => self.too_wide += 1,
            Some(budget) => {
                self.compared += 1;
                self.comparison.row(&Row { batch: place.0, query, position: place.1, want, budget });
            }
        }
    }

    /// What became of the rows.
    pub fn said(self) -> Said {
        let Self { comparison, terms, compared, too_wide } = self;
        if too_wide > 0 && terms.fine {
            return Verdict::TooWide { rows: too_wide }.into();
        }
        if compared == 0 {
            return Said { incomparable: too_wide, ..Verdict::Incomparable.into() };
        }
        let mut difference = comparison.difference();
        let shares = Some(std::mem::take(&mut difference.shares));
        let verdict = if difference.agrees() {
            Verdict::Pass(difference.ratio)
        } else {
            Verdict::Differs(difference.into())
        };
        Said { verdict, incomparable: too_wide, shares }
    }
}
