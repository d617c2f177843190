//! The judge's probe: it compares each site with truth, then hands truth on where the feed says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::rows::{Terms, Wanted, hold};
use super::seen::{Kept, Seen};
use super::verdict::Verdict;
use super::window::{Window, inside, shape};
use crate::Result;
use crate::compare::{Noise, Shape, Shares};
use crate::port::Traits;
use crate::probe::{Arithmetic, Kind, Probe, Site};
use crate::reference::{Feed, Place, Reference, Truth};

/// What a watched forward is held against.
pub(super) struct Expect<'a> {
    /// Truth at a site, for the sites that are to be judged.
    pub truth: &'a dyn Fn(Site) -> Option<&'a Truth>,
    /// Which rows are fit to be judged there.
    pub judges: &'a dyn Fn(Site, Place) -> bool,
    /// Measured noise there.
    pub noise: &'a dyn Fn(Site, Place) -> Option<Noise>,
    /// How many times that noise is allowed.
    pub factor: f64,
}

/// Feeding: the case whose truth replaces the model's values, and where it does.
pub(crate) type Fed<'a> = (&'a Reference, Feed);

/// Looks at one forward over `window`.
pub(super) struct Watch<'a> {
    pub expect: Expect<'a>,
    pub fed: Option<Fed<'a>>,
    pub traits: &'a Traits,
    /// Rows of the batch that is run.
    pub batch: usize,
    pub window: Window,
    /// What became of each site that was handed over and is expected.
    pub verdicts: BTreeMap<Site, Verdict>,
    /// How many rows of a site could not be judged, their budget being past their scale.
    pub incomparable: BTreeMap<Site, usize>,
    /// How much of its budget each row of a site used.
    pub shares: BTreeMap<Site, Shares>,
    /// What red sites are explained from.
    pub seen: Seen,
}

impl Probe for Watch<'_> {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        if let Some(truth) = (self.expect.truth)(site) {
            let columns = self.traits.layout(site.kind).columns(*truth.row_shape.last().unwrap_or(&0));
            if let Some(verdict) = self.judge(site, &tensor, truth, columns.as_deref())? {
                if matches!(verdict, Verdict::Differs(_)) {
                    let (tensor, window) = (tensor.clone(), self.window.clone());
                    self.seen.kept.entry(site).or_insert(Kept { site, tensor, window });
                }
                self.verdicts.insert(site, verdict);
            }
        }
        self.keep_pads(site, &tensor)?;
        feed(self.fed, self.traits, &self.window, site, tensor)
    }
}

impl<'a> Watch<'a> {
    /// Nothing has been handed over yet.
    pub fn new(
        expect: Expect<'a>,
        fed: Option<Fed<'a>>,
        traits: &'a Traits,
        batch: usize,
        window: Window,
    ) -> Self {
        let (verdicts, incomparable, shares) = Default::default();
        Self { expect, fed, traits, batch, window, verdicts, incomparable, shares, seen: Seen::default() }
    }

    /// Only what a query could look at: keys and values.
    fn keep_pads(&mut self, site: Site, tensor: &Tensor) -> Result<()> {
        let Some((case, _)) = self.fed.filter(|_| matches!(site.kind, Kind::KRope | Kind::VProj)) else {
            return Ok(());
        };
        let all = (0..case.batch()).flat_map(|b| self.window.clone().map(move |slot| (b, slot)));
        let padded: Vec<Place> = all.filter(|place| case.places().binary_search(place).is_err()).collect();
        if padded.is_empty() {
            return Ok(());
        }
        let Some((rows, _)) = rows_at(tensor, site.kind, self.traits, self.window.start, &padded)? else {
            return Ok(());
        };
        let width = rows.len() / padded.len();
        let rows = rows.chunks_exact(width).map(<[f64]>::to_vec);
        self.seen.pads.entry(site).or_default().extend(padded.into_iter().zip(rows));
        Ok(())
    }

    /// Shape, then dtype, then values; `None` if truth holds no row of this window.
    fn judge(
        &mut self,
        site: Site,
        got: &Tensor,
        truth: &Truth,
        columns: Option<&[usize]>,
    ) -> Result<Option<Verdict>> {
        let places: Vec<(usize, Place)> =
            inside(truth, &self.window).filter(|&(_, place)| (self.expect.judges)(site, place)).collect();
        if places.is_empty() {
            return Ok(None);
        }
        let shape = shape(site.kind, truth, &self.window, self.batch);
        let shape = Shape { merged: self.merged(site), ..shape };
        if got.dims() != shape.dims() {
            return Ok(Some(Verdict::Shape { got: got.dims().to_vec(), want: shape.dims() }));
        }
        if crate::compare::ulp(got.dtype()) > crate::compare::ulp(self.traits.dtype) {
            let (got, want) = (got.dtype().as_str(), self.traits.dtype.as_str());
            return Ok(Some(Verdict::LowerPrecision { got, want }));
        }
        let wanted: Vec<Wanted<'_>> = places
            .iter()
            .map(|&(r, place)| Wanted {
                place,
                query: place.1 - self.window.start,
                want: truth.row(r),
                noise: (self.expect.noise)(site, place),
            })
            .collect();
        let fine = self.traits.dtype == DType::F32 && self.traits.arithmetic == Arithmetic::Dense;
        let terms = Terms { factor: self.expect.factor, dtype: self.traits.dtype, fine };
        let said = hold(got, &shape, &wanted, &terms, columns)?;
        self.incomparable.insert(site, said.incomparable);
        self.shares.extend(said.shares.map(|shares| (site, shares)));
        Ok(Some(said.verdict))
    }

    /// Heads that lie one behind another in the last axis of `site`: as many as are an axis once rotated.
    fn merged(&self, site: Site) -> usize {
        let rotated = match site.kind {
            Kind::QProj | Kind::Context => Kind::QRope,
            Kind::KProj | Kind::VProj => Kind::KRope,
            _ => return 1,
        };
        let truth = self.fed.and_then(|(case, _)| case.truth(Site { kind: rotated, ..site }));
        truth.map_or(1, |truth| truth.row_shape[0])
    }
}

/// Gives back `tensor` with its stored rows replaced by truth, where the feed says so.
pub(crate) fn feed(
    fed: Option<Fed<'_>>,
    traits: &Traits,
    window: &Window,
    site: Site,
    tensor: Tensor,
) -> Result<Tensor> {
    let truth = fed.and_then(|(case, feed)| case.truth(site).filter(|_| feed.replaces(site.kind)));
    let (Some(truth), Some((case, _))) = (truth, fed) else { return Ok(tensor) };
    let shape = shape(site.kind, truth, window, case.batch());
    if tensor.dims() != shape.dims() {
        return Ok(tensor); // judged by its shape already
    }
    let (heads, stored) = (shape.heads.unwrap_or(1), truth.row_shape[truth.row_shape.len() - 1]);
    let columns = traits.layout(site.kind).columns(stored);
    let mut values: Vec<f32> =
        tensor.to_dtype(DType::F32)?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
    for (r, (batch, position)) in inside(truth, window) {
        for (head, want) in truth.row(r).chunks_exact(stored).enumerate() {
            // [batch, heads, queries, width], heads 1 where they are no axis
            let start = ((batch * heads + head) * shape.queries + position - window.start) * shape.width;
            for (j, &want) in want[..shape.width].iter().enumerate() {
                let column = columns.as_ref().map_or(j, |columns| columns[j]);
                values[start + column] = want as f32;
            }
        }
    }
    Ok(Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?
        .to_device(tensor.device())?
        .to_dtype(tensor.dtype())?)
}

/// Writes down what a model computes in one forward over a whole case.
pub(super) struct Record<'a> {
    pub fed: Option<Fed<'a>>,
    pub traits: &'a Traits,
    /// The places worth writing down, by site.
    pub places: &'a dyn Fn(Site) -> Arc<[Place]>,
    pub window: Window,
    pub truth: BTreeMap<Site, Truth>,
}

impl Probe for Record<'_> {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let places = (self.places)(site);
        // The judged forward tells a wrong shape.
        let Some((rows, row_shape)) = rows_at(&tensor, site.kind, self.traits, 0, &places)? else {
            return Ok(tensor);
        };
        self.truth.insert(site, Truth { places, row_shape, values: rows });
        feed(self.fed, self.traits, &self.window, site, tensor)
    }
}

/// The rows of `tensor` at these places, one after the other, and the shape of each: heads side by side,
/// columns in the reference's order. None where it does not have the axes of its kind.
fn rows_at(
    tensor: &Tensor,
    kind: Kind,
    traits: &Traits,
    start: usize,
    places: &[Place],
) -> Result<Option<(Vec<f64>, Vec<usize>)>> {
    let (heads, queries, width) = match (kind.by_head(), tensor.dims()) {
        (true, &[_, heads, queries, width]) => (heads, queries, width),
        (false, &[_, queries, width]) => (1, queries, width),
        _ => return Ok(None),
    };
    let values: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
    let columns = traits.layout(kind).columns(width);
    let mut rows = Vec::with_capacity(places.len() * heads * width);
    for &(batch, slot) in places {
        for head in 0..heads {
            // [batch, heads, queries, width], heads 1 where they are no axis
            let run = &values[((batch * heads + head) * queries + slot - start) * width..][..width];
            rows.extend((0..width).map(|j| run[columns.as_ref().map_or(j, |columns| columns[j])]));
        }
    }
    Ok(Some((rows, if kind.by_head() { vec![heads, width] } else { vec![width] })))
}
