//! The judge's probe: it compares each site with truth, then hands truth on where the feed says so.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::explain::Kept;
use super::rows::{Terms, Wanted, hold};
use super::verdict::Verdict;
use crate::Result;
use crate::compare::{Noise, Shape};
use crate::port::Traits;
use crate::probe::{Arithmetic, Kind, Probe, Site};
use crate::reference::{Feed, Place, Reference, Truth};

/// The part of a case that one forward covers: these positions, of every batch row.
pub(super) type Window = Range<usize>;

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
pub(super) type Fed<'a> = (&'a Reference, Feed);

/// Looks at one forward over `window`.
pub(super) struct Watch<'a> {
    pub expect: Expect<'a>,
    pub fed: Option<Fed<'a>>,
    pub traits: &'a Traits,
    pub window: Window,
    /// What became of each site that was handed over and is expected.
    pub verdicts: BTreeMap<Site, Verdict>,
    /// How many rows of a site could not be judged, their budget being past their scale.
    pub incomparable: BTreeMap<Site, usize>,
    /// The first wrong tensor of each kind, as it was handed over.
    pub kept: BTreeMap<Kind, Kept>,
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
                    self.kept.entry(site.kind).or_insert(Kept { site, tensor, window });
                }
                self.verdicts.insert(site, verdict);
            }
        }
        feed(self.fed, self.traits, &self.window, site, tensor)
    }
}

impl Watch<'_> {
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
        let shape = shape(site.kind, truth, &self.window, got.dims().first().copied().unwrap_or(0));
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
        let (verdict, incomparable) = hold(got, &shape, &wanted, &terms, columns)?;
        if incomparable > 0 {
            self.incomparable.insert(site, incomparable);
        }
        Ok(Some(verdict))
    }
}

/// The stored rows that lie in the window.
pub(super) fn inside<'a>(truth: &'a Truth, window: &'a Window) -> impl Iterator<Item = (usize, Place)> + 'a {
    truth.places.iter().copied().enumerate().filter(|(_, (_, position))| window.contains(position))
}

/// What the model must hand over in this window.
pub(super) fn shape(kind: Kind, truth: &Truth, window: &Window, batch: usize) -> Shape {
    let heads = kind.by_head().then(|| truth.row_shape[0]);
    let stored = truth.row_shape.last().copied().unwrap_or(0);
    // A window that ends before the sequence does has seen only the keys up to its end.
    let width = if kind.over_keys() { window.end.min(stored) } else { stored };
    Shape { batch, queries: window.len(), heads, width, over_keys: kind.over_keys() }
}

/// Gives back `tensor` with its stored rows replaced by truth, where the feed says so.
fn feed(
    fed: Option<Fed<'_>>,
    traits: &Traits,
    window: &Window,
    site: Site,
    tensor: Tensor,
) -> Result<Tensor> {
    let truth = fed.and_then(|(case, feed)| case.truth(site).filter(|_| feed.replaces(site.kind)));
    let Some(truth) = truth else { return Ok(tensor) };
    let shape = shape(site.kind, truth, window, tensor.dims()[0]);
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
        let dims = tensor.dims().to_vec();
        let (heads, queries, width) = match (site.kind.by_head(), &dims[..]) {
            (true, &[_, heads, queries, width]) => (heads, queries, width),
            (false, &[_, queries, width]) => (1, queries, width),
            _ => return Ok(tensor), // the judged forward tells the wrong shape
        };
        let values: Vec<f64> =
            tensor.to_dtype(DType::F64)?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
        let columns = self.traits.layout(site.kind).columns(width);
        let places = (self.places)(site);
        let mut rows = Vec::with_capacity(places.len() * heads * width);
        for &(batch, position) in places.iter() {
            for head in 0..heads {
                let start = ((batch * heads + head) * queries + position) * width;
                rows.extend(
                    (0..width).map(|j| values[start + columns.as_ref().map_or(j, |columns| columns[j])]),
                );
            }
        }
        let row_shape = if site.kind.by_head() { vec![heads, width] } else { vec![width] };
        self.truth.insert(site, Truth { places, row_shape, values: rows });
        feed(self.fed, self.traits, &self.window, site, tensor)
    }
}
