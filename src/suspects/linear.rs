//! Linear layers: the weight's order, what is added, what is rounded.

use candle_core::DType;

use super::fit::Expected;
use super::linear_choice::{Linear, Low};
use super::search::{Turned, Twist, search};
use super::{Diagnosis, Evidence, rows_elsewhere};
use crate::Result;
use crate::oracle::{Matrix, Rows, linear};
use crate::probe::Kind;

const TWISTS: [Twist<Linear>; 5] = [
    Twist { mistake: "absent-tensors", fingerprint: |_| false, turn: zeros, pairs: false },
    Twist { mistake: "weight-transposed", fingerprint: |_| false, turn: transposed, pairs: true },
    Twist { mistake: "qkv-split", fingerprint: |_| false, turn: rows_elsewhere::found, pairs: false },
    Twist { mistake: "bias-dropped", fingerprint: |_| false, turn: bias, pairs: false },
    Twist { mistake: "gemm-reduced", fingerprint: |_| false, turn: low, pairs: true },
];

/// Which mistake of a linear layer is it?
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    let Some(layer) = e.red.site.layer else { return Ok(Diagnosis::default()) };
    by(e, Matrix::read(e.red.weights, &format!("model.layers.{layer}.{}.weight", e.red.site.kind.name()))?)
}

/// As [`diagnose`], with this weight.
pub(super) fn by(e: &Evidence<'_>, weight: Matrix) -> Result<Diagnosis> {
    search(e, &Linear { weight, low: None, columns: None, bias: None }, run, &TWISTS)
}

fn input(e: &Evidence<'_>) -> Option<Rows> {
    e.inputs()?.pop()
}

fn run(e: &Evidence<'_>, choice: &Linear) -> Result<Option<Expected>> {
    let Some(x) = input(e) else { return Ok(None) };
    let y = match (&choice.columns, choice.low) {
        (Some(columns), _) => match rows_elsewhere::among(e) {
            Some(all) => all.columns(columns.len(), |j| columns[j]),
            None => return Ok(None),
        },
        (None, None) => linear(&x, &choice.weight)?,
        (None, Some(low)) => {
            let x = Rows::from_fn(x.len(), x.width, |r, j| low.round(x.row(r)[j]));
            linear(&x, &choice.weight.map(|v| low.round(v))?)?
        }
    };
    let Some(bias) = &choice.bias else { return Ok(Some(y.into())) };
    Ok(Some(Rows::from_fn(y.len(), y.width, |r, j| y.row(r)[j] + bias[j]).into()))
}

fn zeros(e: &Evidence<'_>, choice: &Linear) -> Result<Vec<Turned<Linear>>> {
    if e.got.values.iter().any(|&v| v != 0.0) {
        return Ok(vec![]);
    }
    let says = "your weight is all zeros: it was never loaded";
    let fix = "demand every tensor by name and stop when one is missing";
    Ok(vec![Turned::new(Linear { weight: choice.weight.map(|_| 0.0)?, ..choice.clone() }, says, fix)])
}

fn transposed(e: &Evidence<'_>, choice: &Linear) -> Result<Vec<Turned<Linear>>> {
    if e.red.site.kind == Kind::Logits {
        return Ok(vec![]);
    }
    let (out, width) = choice.weight.shape();
    let fix = "weights are [out, in]: multiply with the transpose, as `candle_nn::Linear` does";
    // The port's own rows are transposed: they may lie in another order than the reference's.
    let columns = e.red.layout.columns(out);
    let own = choice.weight.in_order(columns.as_deref().map(inverse).as_deref())?;
    let (own, says) = if out == width {
        (own.transposed()?, "you multiply with W; it is square, and wants Wᵀ".to_owned())
    } else {
        (
            own.read_as_transposed()?,
            format!("you read the numbers of a [{out}, {width}] weight as [{width}, {out}]"),
        )
    };
    let weight = own.in_order(columns.as_deref())?;
    Ok(vec![Turned::new(Linear { weight, ..choice.clone() }, says, fix)])
}

/// Where each row came from → where each one goes.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(j, &c)| inverse[c] = j);
    inverse
}

/// The same vector added to every token.
fn bias(e: &Evidence<'_>, choice: &Linear) -> Result<Vec<Turned<Linear>>> {
    if e.got.len() < 3 || e.red.site.kind == Kind::Logits {
        return Ok(vec![]);
    }
    let Some(right) = run(e, choice)? else { return Ok(vec![]) };
    let mean = |j: usize| {
        let differences = (0..e.got.len()).map(|r| e.got.row(r)[j] - right.rows.row(r)[j]);
        differences.sum::<f64>() / e.got.len() as f64
    };
    let bias = (0..e.got.width).map(mean).collect();
    let says = "the same vector is added to every token, or missing from it: a bias";
    let fix =
        "add the projection's bias where the file holds one, and none where it does not: Llama has none";
    Ok(vec![Turned::new(Linear { bias: Some(bias), ..choice.clone() }, says, fix)])
}

fn low(e: &Evidence<'_>, choice: &Linear) -> Result<Vec<Turned<Linear>>> {
    let mut turned = Vec::new();
    for (low, said, dtype) in [
        (Low::Half(DType::BF16), "bf16", DType::BF16),
        (Low::Half(DType::F16), "f16", DType::F16),
        (Low::Tf32, "TF32", DType::F16),
    ] {
        if dtype == e.red.dtype {
            continue;
        }
        let says = format!("both factors of your products are rounded to {said}");
        let fix =
            "forbid reduced-precision products: `candle_core::cuda::set_gemm_reduced_precision_f32(false)`";
        turned.push(Turned::new(Linear { low: Some(low), ..choice.clone() }, says, fix));
    }
    Ok(turned)
}
