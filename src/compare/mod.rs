//! Compares two tensors under a budget. Independent of any model.
//!
//! The order is fixed: shape, then the sets of NaN and infinite entries, then values. The tensor is read in
//! place in one pass; data is copied only from a device.

mod along;
mod budget;
mod difference;
mod masked;
mod roundings;
mod shape;
mod shares;

pub use along::{Along, Axis};
pub use budget::{Budget, Noise, Scale, spacing, ulp};
pub use difference::{Difference, Element};
pub use masked::{masked_below, vanishes};
pub use roundings::Roundings;
pub use shape::Shape;
pub use shares::Shares;

use std::ops::Range;

use candle_core::{CpuStorage, DType, Storage, Tensor};

use crate::Result;

/// One reference row: all values of one position of one batch row at a site.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Row of the batch.
    pub batch: usize,
    /// Index among the query positions of the compared tensor.
    pub query: usize,
    /// Position in the whole (padded) sequence, as used in the report.
    pub position: usize,
    /// The reference values, `[heads, stored_width]`, or `[width]` without heads. `stored_width` may be
    /// larger than the tensor's width: a reference over all keys is also used for a window that sees only the
    /// first keys.
    pub want: &'a [f64],
    /// How far the tensor may differ from it.
    pub budget: Budget,
    /// How far each entry may differ, where entries are judged one by one too: as many as in `want`.
    pub entries: Option<&'a [f64]>,
}

impl Row<'_> {
    /// How far entry `n` may differ.
    fn budget_at(&self, n: usize) -> f64 {
        self.entries.map_or(self.budget.max, |entries| entries[n].min(self.budget.max))
    }
}

/// Compares `got` with reference `rows`.
///
/// `columns[j]` is the column of `got` that corresponds to the reference's column `j`, for models with
/// another layout of the last axis; `None` means the same layout. The tensor must have `shape.dims()`; the
/// caller checks that first, because a wrong shape is a separate verdict.
pub fn compare(
    got: &Tensor,
    shape: &Shape,
    rows: &[Row<'_>],
    columns: Option<&[usize]>,
) -> Result<Difference> {
    let mut comparison = Comparison::new(got, shape, columns)?;
    rows.iter().for_each(|row| comparison.row(row));
    Ok(comparison.difference())
}

/// A comparison row by row, for a reference that is never in memory as a whole.
#[derive(Debug)]
pub struct Comparison<'a> {
    got: Tensor,
    columns: Option<&'a [usize]>,
    pass: Pass<'a>,
}

impl<'a> Comparison<'a> {
    /// Starts comparing `got`; the requirements are those of [`compare`].
    ///
    /// # Errors
    /// The tensor cannot be moved to the CPU.
    pub fn new(got: &Tensor, shape: &'a Shape, columns: Option<&'a [usize]>) -> Result<Self> {
        debug_assert_eq!(got.dims(), shape.dims());
        let pass = Pass::new(shape, got.dtype());
        Ok(Self { got: got.to_device(&candle_core::Device::Cpu)?, columns, pass })
    }

    /// Compares one row.
    pub fn row(&mut self, row: &Row<'_>) {
        let Self { got, columns, pass } = self;
        let (storage, layout) = got.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { unreachable!("moved to the CPU before") };
        let at = |i: usize| -> f64 {
            match storage {
                CpuStorage::F32(values) => values[i] as f64,
                CpuStorage::F64(values) => values[i],
                CpuStorage::BF16(values) => values[i].to_f64(),
                CpuStorage::F16(values) => values[i].to_f64(),
                _ => f64::NAN,
            }
        };
        let (stride, heads) = (layout.stride(), pass.shape.heads);
        let base = layout.start_offset() + row.batch * stride[0];
        let value = |head: usize, column: usize| {
            let column = columns.map_or(column, |columns| columns[column]);
            let offset = match heads {
                Some(_) => head * stride[1] + row.query * stride[2] + column * stride[3],
                None => row.query * stride[1] + column * stride[2],
            };
            at(base + offset)
        };
        pass.row(row, value);
    }

    /// The difference over all rows so far.
    pub fn difference(self) -> Difference {
        self.pass.difference
    }
}

/// The single pass over the rows.
#[derive(Debug)]
struct Pass<'a> {
    shape: &'a Shape,
    /// The dtype of the compared tensor.
    dtype: DType,
    difference: Difference,
    worst: f64,
}

impl<'a> Pass<'a> {
    fn new(shape: &'a Shape, dtype: DType) -> Self {
        let along = Along { over_keys: shape.over_keys, paired: shape.is_rotated(), ..Along::default() };
        let shares = Shares { heads: shape.heads.unwrap_or(shape.merged), ..Shares::default() };
        let difference = Difference { along, shares, ..Difference::default() };
        Self { shape, dtype, difference, worst: -1.0 }
    }

    fn row(&mut self, row: &Row<'_>, got: impl Fn(usize, usize) -> f64) {
        let heads = self.shape.heads.unwrap_or(1);
        let stored = row.want.len() / heads;
        let (mut squares, mut finite) = (0f64, 0usize);
        let mut largest = vec![0f64; self.difference.shares.heads];
        for head in 0..heads {
            let largest_score =
                self.largest_score(head, &row.want[head * stored..][..self.shape.width], &got);
            for columns in self.shape.parts() {
                let (part, first_channel) = self.shape.place(head, columns.start);
                self.compared(part, first_channel..first_channel + columns.len());
                // An error up to this one is within budget, and not the largest: nothing has to be noted.
                let mut unremarkable = -1.0;
                for column in columns.clone() {
                    let want = row.want[head * stored + column];
                    let budget = row.budget_at(head * stored + column);
                    let got = self.unmasked(got(head, column), want, largest_score);
                    let ratio = match error(got, want) {
                        Some(error) => {
                            squares += error * error;
                            finite += 1;
                            if error <= unremarkable {
                                continue;
                            }
                            if row.entries.is_none() {
                                unremarkable = error.min(budget);
                            }
                            share(error, budget)
                        }
                        None if same_non_finite(got, want) && self.worst >= 0.0 => continue,
                        None if same_non_finite(got, want) => 0.0,
                        None => {
                            self.difference.unlike += 1;
                            f64::INFINITY
                        }
                    };
                    largest[part] = largest[part].max(ratio);
                    if ratio > 1.0 {
                        self.differs(part, first_channel + column - columns.start);
                    }
                    self.keep(row, [head, column], Entry { got, want, budget }, ratio);
                }
            }
        }
        let rms = share((squares / finite.max(1) as f64).sqrt(), row.budget.rms);
        self.difference.ratio = self.difference.ratio.max(rms);
        let differs = rms > 1.0 || largest.iter().any(|&ratio| ratio > 1.0);
        self.difference.along.batch.see(row.batch, differs);
        self.difference.along.position.see(row.position, differs);
        self.difference.shares.see((row.batch, row.position), &largest, rms);
    }

    /// The largest score of a head in a row, over the keys that the reference does not mask; 0 at sites other
    /// than scores, where nothing is masked.
    fn largest_score(&self, head: usize, want: &[f64], got: impl Fn(usize, usize) -> f64) -> f64 {
        if !self.shape.over_keys || !want.contains(&f64::NEG_INFINITY) {
            return 0.0;
        }
        let visible = want.iter().enumerate().filter(|(_, want)| **want != f64::NEG_INFINITY);
        visible.map(|(column, _)| got(head, column)).fold(f64::MIN, f64::max)
    }

    /// A score, or −inf if it is masked: it is the lowest number of its dtype, or, where the reference is
    /// masked too, its weight in the softmax is 0.
    fn unmasked(&self, got: f64, want: f64, largest_score: f64) -> f64 {
        let masked = || want == f64::NEG_INFINITY && vanishes(got - largest_score, self.dtype);
        let lowest = got <= masked_below(self.dtype);
        if self.shape.over_keys && (lowest || masked()) { f64::NEG_INFINITY } else { got }
    }

    /// Counts elements that are compared: these channels of head `part`, if there are heads.
    fn compared(&mut self, part: usize, channels: Range<usize>) {
        let difference = &mut self.difference;
        difference.elements += channels.len();
        difference.along.column.compare(channels);
        if self.shape.has_heads() {
            difference.along.head.see(part, false);
        }
    }

    /// Counts one of them as differing.
    fn differs(&mut self, part: usize, channel: usize) {
        let difference = &mut self.difference;
        difference.differing += 1;
        difference.along.column.see(channel, true);
        if self.shape.has_heads() {
            difference.along.head.see(part, true);
        }
    }

    /// Keeps the element that was just counted if it is the worst so far or the first that differs.
    fn keep(&mut self, row: &Row<'_>, [head, column]: [usize; 2], entry: Entry, ratio: f64) {
        let difference = &mut self.difference;
        difference.ratio = difference.ratio.max(ratio);
        let is_worst = ratio > self.worst;
        let is_first = difference.differing > 0 && difference.first.is_none();
        if is_worst || is_first {
            let index = match self.shape.heads {
                Some(_) => vec![row.batch, head, row.position, column],
                None => vec![row.batch, row.position, column],
            };
            let Entry { got, want, budget } = entry;
            let element = Element { index, got, want, budget };
            if is_first {
                difference.first = Some(element.clone());
            }
            if is_worst {
                self.worst = ratio;
                difference.worst = Some(element);
            }
        }
    }
}

/// An entry that was compared.
struct Entry {
    got: f64,
    want: f64,
    budget: f64,
}

/// The error, if both sides are finite.
fn error(got: f64, want: f64) -> Option<f64> {
    (got.is_finite() && want.is_finite()).then(|| (got - want).abs())
}

/// Error as a share of the budget. With a budget of zero, any error is infinite.
fn share(error: f64, budget: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / budget }
}

fn same_non_finite(got: f64, want: f64) -> bool {
    got == want || (got.is_nan() && want.is_nan())
}

#[cfg(test)]
mod tests;
