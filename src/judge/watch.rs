//! The judge's probe: it compares each site with the reference, then returns the reference if the feed says
//! so.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::diagnosis_inputs::{DiagnosisInputs, FailedTensor};
use super::rows::{ExpectedRow, Terms, compare_rows};
use super::substitute::{Fed, substitute_reference};
use super::verdict::Verdict;
use super::window::{Window, inside, shape};
use crate::Result;
use crate::compare::{Noise, Shape, Shares};
use crate::port::Traits;
use crate::probe::{Arithmetic, Kind, Probe, Site};
use crate::recording::gather;
use crate::reference::{Place, ReferenceRows};

/// What a forward pass is compared with.
pub(super) struct Expect<'a> {
    /// The reference at each site that is to be judged.
    pub reference: &'a dyn Fn(Site) -> Option<&'a ReferenceRows>,
    /// Which rows can be judged there.
    pub judges: &'a dyn Fn(Site, Place) -> bool,
    /// The measured noise there.
    pub noise: &'a dyn Fn(Site, Place) -> Option<Noise>,
    /// How many times that noise is allowed.
    pub factor: &'a dyn Fn(Site) -> f64,
}

/// Compares one forward pass over `window`.
pub(super) struct Watch<'a> {
    pub expect: Expect<'a>,
    pub fed: Option<Fed<'a>>,
    pub traits: &'a Traits,
    /// Number of rows in the batch.
    pub batch: usize,
    pub window: Window,
    /// The verdict on each expected site that was handed over.
    pub verdicts: BTreeMap<Site, Verdict>,
    /// How many rows of a site could not be judged because their budget is larger than their scale.
    pub incomparable: BTreeMap<Site, usize>,
    /// The share of its budget that each row of a site used.
    pub shares: BTreeMap<Site, Shares>,
    /// Data for diagnosing failing sites.
    pub diagnosis: DiagnosisInputs,
}

impl Probe for Watch<'_> {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        if let Some(reference) = (self.expect.reference)(site) {
            let columns = self.traits.layout(site.kind).columns(*reference.row_shape.last().unwrap_or(&0));
            if let Some(verdict) = self.judge_site(site, &tensor, reference, columns.as_deref())? {
                if matches!(verdict, Verdict::Differs(_)) {
                    let (tensor, window) = (tensor.clone(), self.window.clone());
                    self.diagnosis.failed.entry(site).or_insert(FailedTensor { site, tensor, window });
                }
                self.verdicts.insert(site, verdict);
            }
        }
        self.keep_padding(site, &tensor)?;
        substitute_reference(self.fed, self.traits, &self.window, site, tensor)
    }
}

impl<'a> Watch<'a> {
    /// Before anything has been handed over.
    pub fn new(
        expect: Expect<'a>,
        fed: Option<Fed<'a>>,
        traits: &'a Traits,
        batch: usize,
        window: Window,
    ) -> Self {
        let (verdicts, incomparable, shares) = Default::default();
        Self {
            expect,
            fed,
            traits,
            batch,
            window,
            verdicts,
            incomparable,
            shares,
            diagnosis: DiagnosisInputs::default(),
        }
    }

    /// Stores padding rows, but only those that a query could attend to: keys and values.
    fn keep_padding(&mut self, site: Site, tensor: &Tensor) -> Result<()> {
        let Some((case, _)) = self.fed.filter(|_| matches!(site.kind, Kind::KRope | Kind::VProj)) else {
            return Ok(());
        };
        let all = (0..case.batch()).flat_map(|b| self.window.clone().map(move |slot| (b, slot)));
        let padded: Vec<Place> = all.filter(|place| case.places().binary_search(place).is_err()).collect();
        if padded.is_empty() {
            return Ok(());
        }
        let layout = self.traits.layout(site.kind);
        let Some(rows) = gather(tensor, site.kind, &layout, self.window.start, &padded)? else {
            return Ok(());
        };
        let rows = rows.values.chunks_exact(rows.values.len() / padded.len()).map(<[f64]>::to_vec);
        self.diagnosis.padding.entry(site).or_default().extend(padded.into_iter().zip(rows));
        Ok(())
    }

    /// Checks the shape, then the dtype, then the values. `None` if no row of this window can be judged.
    fn judge_site(
        &mut self,
        site: Site,
        got: &Tensor,
        reference: &ReferenceRows,
        columns: Option<&[usize]>,
    ) -> Result<Option<Verdict>> {
        let places: Vec<(usize, Place)> =
            inside(reference, &self.window).filter(|&(_, place)| (self.expect.judges)(site, place)).collect();
        if places.is_empty() {
            return Ok(None);
        }
        let shape = shape(site.kind, reference, &self.window, self.batch);
        let shape = Shape { merged: self.merged(site), ..shape };
        if got.dims() != shape.dims() {
            return Ok(Some(Verdict::Shape { got: got.dims().to_vec(), want: shape.dims() }));
        }
        if crate::compare::ulp(got.dtype()) > crate::compare::ulp(self.traits.dtype) {
            let (got, want) = (got.dtype().as_str(), self.traits.dtype.as_str());
            return Ok(Some(Verdict::LowerPrecision { got, want }));
        }
        let wanted: Vec<ExpectedRow<'_>> = places
            .iter()
            .map(|&(r, place)| ExpectedRow {
                place,
                query: place.1 - self.window.start,
                want: reference.row(r),
                noise: (self.expect.noise)(site, place),
                entries: None,
            })
            .collect();
        let fine = self.traits.dtype == DType::F32 && self.traits.arithmetic == Arithmetic::Dense;
        let terms = Terms { factor: (self.expect.factor)(site), dtype: self.traits.dtype, fine };
        let compared = compare_rows(got, &shape, &wanted, &terms, columns)?;
        self.incomparable.insert(site, compared.incomparable);
        self.shares.extend(compared.shares.map(|shares| (site, shares)));
        Ok(Some(compared.verdict))
    }

    /// How many heads are concatenated in the last axis of `site`: as many as its rotated form has on the
    /// head axis.
    fn merged(&self, site: Site) -> usize {
        let rotated = match site.kind {
            Kind::QProj | Kind::QNorm | Kind::Context => Kind::QRope,
            Kind::KProj | Kind::KNorm | Kind::VProj => Kind::KRope,
            _ => return 1,
        };
        let reference = self.fed.and_then(|(case, _)| case.rows(Site { kind: rotated, ..site }));
        reference.map_or(1, |reference| reference.row_shape[0])
    }
}
