//! Compares a recording with the stored reference at every site that both have. The recorded values are the
//! port's own.

use candle_core::DType;

use super::Against;
use crate::Result;
use crate::compare::{Noise, ulp};
use crate::judge::rows::{Compared, ExpectedRow, Terms, compare_rows};
use crate::judge::{Drive, Finding, Verdict};
use crate::probe::{Arithmetic, Site};
use crate::recording::{Misfit, Recording, SiteTensor};
use crate::reference::{Feed, Place, Reference};

/// The dtype whose noise is used for a port that computes in `dtype`. Noise was not measured in float64, and
/// the error of a float64 port is smaller than that of a float32 one.
pub(super) fn judged_as(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F32 } else { dtype }
}

/// The error of correct computations at a site of the case, and of saving them as the recording's tensors were.
pub(super) fn noise_of(
    case: &Reference,
    against: &Against<'_>,
    feed: Feed,
    dump: &Recording,
    site: Site,
    place: Place,
) -> Option<Noise> {
    let computed = case.noise_on(against.arithmetic, feed, site, place, judged_as(dump.dtype))?;
    Some(dump.saved.map_or(computed, |saved| computed.plus(saved.noise())))
}

impl Against<'_> {
    /// The terms of comparison for a recording, with this factor.
    pub(super) fn terms(&self, dump: &Recording, factor: f64) -> Terms {
        let dtype = judged_as(dump.dtype);
        let fine = dtype == DType::F32 && self.arithmetic == Arithmetic::Dense && dump.saved.is_none();
        Terms { factor, dtype, fine }
    }
}

/// A finding about one site of a recording.
pub(super) fn finding(site: Site, case: &str, drive: Drive, compared: Compared) -> Finding {
    let Compared { verdict, incomparable, shares } = compared;
    let about = Finding::new(site.to_string(), verdict);
    Finding { site: Some(site), case: case.to_owned(), drive, incomparable, shares, ..about }
}

/// The verdict on a tensor that does not fit, before any of its values is compared.
pub(super) fn misfit(why: Misfit) -> Verdict {
    match why {
        Misfit::Recognised(how) => Verdict::Broken(how),
        Misfit::Shape { got, want } => Verdict::Shape { got, want },
    }
}

/// Does the tensor have less precision than the port's dtype?
pub(super) fn lower(dump: &Recording, recorded: &SiteTensor) -> Option<Verdict> {
    let (got, want) = (recorded.tensor.dtype(), dump.dtype);
    let saved = dump.saved.map_or(0.0, |saved| ulp(saved.dtype));
    (ulp(got) > ulp(want).max(saved))
        .then(|| Verdict::LowerPrecision { got: got.as_str(), want: want.as_str() })
}

/// Compares `recorded` with the reference under `feed`; `None` if the reference has none of its rows.
pub(super) fn compare_with_reference(
    dump: &Recording,
    recorded: &SiteTensor,
    against: &Against<'_>,
    feed: Feed,
    factor: f64,
) -> Result<Option<Finding>> {
    let (Some(case), site) = (against.case, recorded.site) else { return Ok(None) };
    let Some(reference) = case.rows_on(against.arithmetic, feed, site) else { return Ok(None) };
    let stored = reference.places.iter().copied().enumerate();
    let wanted: Vec<ExpectedRow<'_>> = stored
        .filter(|&(_, place)| recorded.holds(place))
        .map(|(r, place)| ExpectedRow {
            place,
            query: place.1 - recorded.first,
            want: reference.row(r),
            noise: noise_of(case, against, feed, dump, site, place),
            entries: None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let row: usize = reference.row_shape.iter().product();
    let shape = recorded.shape();
    let compared = if shape.heads.unwrap_or(1) * shape.width != row {
        let got = [shape.heads.unwrap_or(1), shape.width].to_vec();
        Verdict::Shape { got, want: reference.row_shape.clone() }.into()
    } else {
        let columns = recorded.layout.columns(shape.width);
        compare_rows(&recorded.tensor, shape, &wanted, &against.terms(dump, factor), columns.as_deref())?
    };
    Ok(Some(finding(site, &case.manifest.case, Drive::RecordedAgainstReference(feed), compared)))
}
