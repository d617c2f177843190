//! One call of an operation: its inputs, and what it must return.

use candle_core::{DType, Tensor};

use crate::compare::{spacing, ulp};

pub use super::input::{Array, Input, Layout, largest, rounded};

/// An exact result, and how far a correct computation in the case's dtype may differ from it before its last
/// rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The exact result.
    pub want: f64,
    /// The allowed error, in units of the accumulator's rounding: see [`Entry::of_sum`].
    pub slack: f64,
}

impl Entry {
    /// A result that is exact, but for its last rounding.
    pub const fn exact(want: f64) -> Self {
        Self { want, slack: 0.0 }
    }

    /// A result that depends on a sum of `terms` numbers whose absolute values sum to `mass`.
    ///
    /// With probability 1 − 2 exp(−λ²/2), the rounding error of such a sum is at most λ √terms · u · mass in any
    /// order (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, 2019). λ is 6 here, so one
    /// sum in 30 million is outside.
    pub fn of_sum(want: f64, mass: f64, terms: usize) -> Self {
        Self { want, slack: 6.0 * (terms.max(1) as f64).sqrt() * mass }
    }

    /// Adds the error of a step whose result is `size`, to within `ulps` roundings of the accumulator.
    pub fn plus(self, ulps: f64, size: f64) -> Self {
        Self { slack: self.slack + ulps * size.abs(), ..self }
    }
}

/// What a case must return.
#[derive(Clone, Debug)]
pub struct Exact {
    /// The axes.
    pub dims: Vec<usize>,
    /// The results, in the order of the axes.
    pub entries: Vec<Entry>,
}

/// Calls the operation.
pub type Run = Box<dyn Fn(&[Tensor]) -> candle_core::Result<Tensor> + Send + Sync>;

/// Computes what it must return, in float64.
pub type Truth = Box<dyn Fn(&[Array]) -> Exact + Send + Sync>;

/// One call of an operation.
pub struct Case {
    /// The operation's name in Candle.
    pub operation: &'static str,
    /// The dtype of its inputs and of its result.
    pub dtype: DType,
    /// Sizes, layout and what is special about the values.
    pub label: String,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// The call.
    pub run: Run,
    /// The result in float64.
    pub truth: Truth,
    /// How many ulps of the dtype a correct result may differ by; see [`Case::budget`].
    pub ulps: f64,
    /// How many inputs, from the first, have the batch as their first axis. Each row of it is a separate problem, whose
    /// result is the same row of the output. 0 if there is no such axis.
    pub batched: usize,
    /// Is a NaN placed into the first input, to see where it appears in the result?
    pub with_nan: bool,
    /// Is the mean of the signed errors judged?
    pub unbiased: bool,
    /// The dtype of the result, if it is not that of the inputs.
    pub result: Option<DType>,
    /// The unit roundoff of the numbers in which sums must be accumulated.
    pub accumulator: f64,
}

impl Case {
    /// A case with the usual checks, whose budget is 4 ulps and the slack of its entries. Half precision must
    /// accumulate in float32, as PyTorch does on every device (`at::opmath_type`).
    pub fn new(
        operation: &'static str,
        dtype: DType,
        label: impl Into<String>,
        inputs: Vec<Input>,
        run: impl Fn(&[Tensor]) -> candle_core::Result<Tensor> + Send + Sync + 'static,
        truth: impl Fn(&[Array]) -> Exact + Send + Sync + 'static,
    ) -> Self {
        let accumulator = match dtype {
            DType::F64 => ulp(DType::F64),
            _ => ulp(DType::F32),
        } / 2.0;
        Self {
            operation,
            dtype,
            label: label.into(),
            inputs,
            run: Box::new(run),
            truth: Box::new(truth),
            ulps: 4.0,
            batched: 1,
            with_nan: true,
            unbiased: false,
            result: None,
            accumulator,
        }
    }

    /// The same case for an operation that only moves or rounds numbers: no result may differ by more than half an
    /// ulp, and a mean error is judged.
    pub fn one_rounding(self) -> Self {
        Self { ulps: 0.5, unbiased: true, ..self }
    }

    /// The same case, in which rows of the first axis are not separate problems.
    pub fn whole(self) -> Self {
        self.batched(0)
    }

    /// The same case, in which this many inputs have the batch as their first axis.
    pub fn batched(self, inputs: usize) -> Self {
        Self { batched: inputs, ..self }
    }

    /// The same case without a NaN.
    pub fn without_nan(self) -> Self {
        Self { with_nan: false, ..self }
    }

    /// How far a result may differ from `entry`: the dtype's ulps at that number, and the slack of the sums before it.
    pub fn budget(&self, entry: Entry) -> f64 {
        let dtype = self.result.unwrap_or(self.dtype);
        self.ulps * spacing(entry.want, dtype) + entry.slack * self.accumulator
    }
}
