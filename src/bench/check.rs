//! Runs one case and compares its result with the exact one.

use candle_core::{DType, Device, Tensor};

use super::case::{Array, Case, Entry, Exact, largest};
use super::guard::guarded;
use super::row::{Check, Fault, Row};
use crate::compare::{spacing, ulp};

/// Rows with fewer entries have no meaningful mean error.
const MANY: usize = 512;

/// The largest mean of a row's signed errors, in ulps. Errors of one rounding are spread evenly over ±0.5 ulp: over 512
/// of them, the mean is within 0.15 in all but one of 10^30 rows.
const BIASED: f64 = 0.15;

/// A tensor's numbers, exactly, and its axes and dtype.
struct Got {
    dims: Vec<usize>,
    dtype: DType,
    values: Vec<f64>,
}

/// Runs `case` on `device`. Errors and panics of the operation are results.
pub fn check(case: &Case, device: &Device) -> Row {
    let mut row = Row {
        operation: case.operation,
        dtype: case.dtype.as_str(),
        case: case.label.clone(),
        entries: 0,
        worst_ulps: 0.0,
        relative_error: 0.0,
        share_of_budget: 0.0,
        bias: 0.0,
        row_alone: None,
        nan: None,
        faults: vec![],
    };
    let arrays: Vec<Array> = case.inputs.iter().map(|input| input.array()).collect();
    let built = guarded(|| case.inputs.iter().map(|input| input.tensor(device)).collect());
    let inputs: Vec<Tensor> = match flat(built) {
        Ok(inputs) => inputs,
        Err(fault) => return Row { faults: vec![fault], ..row },
    };
    let got = match called(case, &inputs) {
        Ok(got) => got,
        Err(fault) => return Row { faults: vec![fault], ..row },
    };
    let exact = (case.truth)(&arrays);
    if got.dims != exact.dims {
        row.fault(Check::Shape, format!("{:?} instead of {:?}", got.dims, exact.dims));
        return row;
    }
    let dtype = case.result.unwrap_or(case.dtype);
    if got.dtype != dtype {
        row.fault(Check::Dtype, format!("{} instead of {}", got.dtype.as_str(), dtype.as_str()));
    }
    values(case, &got, &exact, &mut row);
    match called(case, &inputs) {
        Ok(again) if same_bits(&again.values, &got.values) => {}
        _ => row.fault(Check::Repeat, "a second call gives other bits".into()),
    }
    if case.batched > 0 {
        row_alone(case, &inputs, &got, &mut row);
    }
    if case.with_nan {
        nan(case, device, &mut row);
    }
    row
}

impl Row {
    fn fault(&mut self, check: Check, found: String) {
        self.faults.push(Fault { check, found, known: None });
    }
}

/// An error or a panic as a fault.
fn flat<T>(outcome: Result<candle_core::Result<T>, String>) -> Result<T, Fault> {
    let fault = |check, text: &str| {
        let found = text.lines().next().unwrap_or_default().to_owned();
        Fault { check, found, known: None }
    };
    match outcome {
        Err(panic) => Err(fault(Check::Panicked, &panic)),
        Ok(Err(error)) => Err(fault(Check::Refused, &error.to_string())),
        Ok(Ok(value)) => Ok(value),
    }
}

/// Calls the operation and reads its result.
fn called(case: &Case, inputs: &[Tensor]) -> Result<Got, Fault> {
    flat(guarded(|| numbers(&(case.run)(inputs)?)))
}

/// The numbers of a tensor. The dtypes of results convert to float64 without rounding.
fn numbers(tensor: &Tensor) -> candle_core::Result<Got> {
    let (dims, dtype) = (tensor.dims().to_vec(), tensor.dtype());
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    let values = match dtype {
        DType::F64 => flat.to_vec1::<f64>()?,
        DType::F32 => flat.to_vec1::<f32>()?.into_iter().map(f64::from).collect(),
        DType::BF16 => flat.to_vec1::<half::bf16>()?.into_iter().map(f64::from).collect(),
        DType::F16 => flat.to_vec1::<half::f16>()?.into_iter().map(f64::from).collect(),
        DType::U8 => flat.to_vec1::<u8>()?.into_iter().map(f64::from).collect(),
        DType::U32 => flat.to_vec1::<u32>()?.into_iter().map(f64::from).collect(),
        DType::I64 => flat.to_vec1::<i64>()?.into_iter().map(|x| x as f64).collect(),
        other => candle_core::bail!("a result of dtype {}", other.as_str()),
    };
    Ok(Got { dims, dtype, values })
}

/// Compares every number, and the mean error of each row.
fn values(case: &Case, got: &Got, exact: &Exact, row: &mut Row) {
    let dtype = case.result.unwrap_or(case.dtype);
    let (mut worst, mut bias, mut counted) = (None, 0.0, 0usize);
    for (at, (&got, entry)) in got.values.iter().zip(&exact.entries).enumerate() {
        let share = share(case, dtype, got, *entry);
        if worst.is_none_or(|(most, _)| share > most) {
            worst = Some((share, at));
        }
        let want = entry.want;
        if got.is_finite() && want.is_finite() && want.abs() <= largest(dtype) {
            let error = (got - want).abs();
            row.worst_ulps = row.worst_ulps.max(error / spacing(want, dtype));
            if want != 0.0 {
                row.relative_error = row.relative_error.max(error / want.abs());
            }
            bias += (got.abs() - want.abs()) / spacing(want, dtype);
            counted += 1;
        }
    }
    row.entries = exact.entries.len();
    row.bias = bias / counted.max(1) as f64;
    if let Some((share, at)) = worst {
        row.share_of_budget = share;
        if share > 1.0 || share.is_nan() {
            let (want, got) = (exact.entries[at].want, got.values[at]);
            row.fault(Check::Values, format!("{got:.6e} instead of {want:.6e} at entry {at}"));
        }
    }
    let half = matches!(dtype, DType::F16 | DType::BF16);
    if half || case.unbiased {
        row_bias(case, dtype, got, exact, row);
    }
}

/// The error of one number as a share of its budget; NaN and infinite numbers must agree.
fn share(case: &Case, dtype: DType, got: f64, entry: Entry) -> f64 {
    let want = entry.want;
    let (most, budget) = (largest(dtype), case.budget(entry));
    if got == want || got.is_nan() && want.is_nan() {
        return 0.0;
    }
    if got.is_infinite() && want.abs() + budget.max(spacing(most, dtype) / 2.0) > most {
        // Rounded to infinity, or within the budget of a number that is.
        return if got.signum() == want.signum() { 0.0 } else { f64::INFINITY };
    }
    if !got.is_finite() || !want.is_finite() {
        return f64::INFINITY;
    }
    let error = (got - want.clamp(-most, most)).abs();
    if error == 0.0 { 0.0 } else { error / budget }
}

/// The mean of the signed errors of each long row. A statistic of the row that is itself rounded to half precision
/// shifts a whole row, while every number may still be within its budget. Only numbers whose last rounding is all that
/// matters are counted.
fn row_bias(case: &Case, dtype: DType, got: &Got, exact: &Exact, row: &mut Row) {
    let width = exact.dims.last().copied().unwrap_or(1);
    if width < MANY {
        return;
    }
    let smallest = spacing(0.0, dtype) / ulp(dtype);
    let mut worst = 0f64;
    for (got, want) in got.values.chunks_exact(width).zip(exact.entries.chunks_exact(width)) {
        let normal = |want: f64| want.is_finite() && want.abs() >= smallest && want.abs() <= largest(dtype);
        let sharp = |of: &Entry| of.slack * case.accumulator < spacing(of.want, dtype) / 20.0;
        let pairs =
            got.iter().zip(want).filter(|(got, want)| got.is_finite() && normal(want.want) && sharp(want));
        let errors: Vec<f64> =
            pairs.map(|(got, want)| (got.abs() - want.want.abs()) / spacing(want.want, dtype)).collect();
        let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        if errors.len() >= MANY && mean.abs() > worst.abs() {
            worst = mean;
        }
    }
    if worst.abs() > BIASED {
        row.fault(Check::Bias, format!("a row is off by {worst:+.2} ulp on average"));
    }
}

/// Runs every row of the first axis alone.
fn row_alone(case: &Case, inputs: &[Tensor], got: &Got, row: &mut Row) {
    let Some(first) = inputs.first() else { return };
    let Some(&batch) = first.dims().first().filter(|batch| **batch > 1) else { return };
    let length = got.values.len() / batch;
    let mut differ = 0;
    let tried = batch.min(8);
    for b in (0..batch).step_by(batch.div_ceil(tried)) {
        let alone = guarded(|| {
            let mut inputs = inputs.to_vec();
            for input in &mut inputs[..case.batched] {
                *input = input.narrow(0, b, 1)?;
            }
            numbers(&(case.run)(&inputs)?)
        });
        let same =
            flat(alone).is_ok_and(|alone| same_bits(&alone.values, &got.values[b * length..][..length]));
        differ += usize::from(!same);
    }
    row.row_alone = Some(differ == 0);
    if differ > 0 {
        row.fault(
            Check::RowAlone,
            format!("{differ} of {tried} rows alone have other bits than in the batch"),
        );
    }
}

/// Puts a NaN in the middle of the first input.
fn nan(case: &Case, device: &Device, row: &mut Row) {
    let mut inputs = case.inputs.clone();
    let Some(first) = inputs.first_mut().filter(|first| first.dtype.is_float() && !first.values.is_empty())
    else {
        return;
    };
    let middle = first.values.len() / 2;
    first.values[middle] = f64::NAN;
    let arrays: Vec<Array> = inputs.iter().map(|input| input.array()).collect();
    let exact = (case.truth)(&arrays);
    let built = guarded(|| inputs.iter().map(|input| input.tensor(device)).collect());
    let got = flat(built).and_then(|inputs: Vec<Tensor>| called(case, &inputs));
    let right = |got: &Got| {
        got.values.iter().zip(&exact.entries).all(|(got, want)| got.is_nan() == want.want.is_nan())
    };
    let found = match &got {
        Ok(got) if right(got) => None,
        Ok(got) => {
            let of = |nans: usize| format!("{nans} of {}", exact.entries.len());
            let got = got.values.iter().filter(|x| x.is_nan()).count();
            let want = exact.entries.iter().filter(|x| x.want.is_nan()).count();
            Some(format!("a NaN in the input makes {} entries NaN instead of {}", of(got), of(want)))
        }
        Err(fault) => Some(format!("with a NaN in the input: {}", fault.found)),
    };
    row.nan = Some(found.is_none());
    if let Some(found) = found {
        row.fault(Check::Nan, found);
    }
}

fn same_bits(one: &[f64], two: &[f64]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(a, b)| a.to_bits() == b.to_bits())
}
