//! Rows of one tensor against what they should be, each under its own budget.

use candle_core::{DType, Tensor};

use super::verdict::Verdict;
use crate::Result;
use crate::compare::{Budget, Noise, Row, Scale, Shape, Shares, compare};
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
    let (mut rows, mut too_wide) = (Vec::with_capacity(wanted.len()), 0);
    for &Wanted { place, query, want, noise } in wanted {
        let scale = Scale::of(want.iter().copied());
        let budget = noise.map(|noise| Budget::derive(scale, noise, terms.factor, terms.dtype));
        match budget.filter(|budget| !budget.wider_than(scale)) {
            None => too_wide += 1,
            Some(budget) => rows.push(Row { batch: place.0, query, position: place.1, want, budget }),
        }
    }
    if too_wide > 0 && terms.fine {
        return Ok(Verdict::TooWide { rows: too_wide }.into());
    }
    if rows.is_empty() {
        return Ok(Said { incomparable: too_wide, ..Verdict::Incomparable.into() });
    }
    let mut difference = compare(got, shape, &rows, columns)?;
    let shares = Some(std::mem::take(&mut difference.shares));
    let verdict = if difference.agrees() {
        Verdict::Pass(difference.ratio)
    } else {
        Verdict::Differs(difference.into())
    };
    Ok(Said { verdict, incomparable: too_wide, shares })
}
