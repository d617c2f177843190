//! Finds mistakes in linear layers: wrong weights, a wrong row order, a missing bias, rounded factors.

use candle_core::DType;

use super::decide::Hypotheses;
use super::deviation::{Deviation, LowFactors, MatrixReading};
use super::fit::fit;
use super::run::run;
use super::search::{Candidate, Solver, search};
use super::{Evidence, rows_elsewhere};
use crate::Result;
use crate::graph::Operation;
use crate::oracle::vector;
use crate::probe::Kind;

const SOLVERS: [Solver; 4] = [
    Solver { mistake: "weight-transposed", fingerprint: |_| false, solve: transposed, pairs: true },
    Solver { mistake: "qkv-split", fingerprint: |_| false, solve: rows_elsewhere::found, pairs: false },
    Solver { mistake: "bias-dropped", fingerprint: |_| false, solve: bias, pairs: false },
    Solver { mistake: "gemm-reduced", fingerprint: |_| false, solve: low, pairs: true },
];

/// Finds the mistake in a linear layer.
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Hypotheses> {
    search(e, &SOLVERS)
}

fn transposed(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let (out, Some(x)) = (e.want.width, e.input(0)) else { return Ok(vec![]) };
    if e.context.site.kind == Kind::Logits {
        return Ok(vec![]);
    }
    let says = if out == x.width {
        "you multiply by W instead of Wᵀ; W is square, so the shape is right either way".to_owned()
    } else {
        format!("you read the values of a [{out}, {}] weight as [{}, {out}]", x.width, x.width)
    };
    // The port transposes the matrix with its own order of rows, which may differ from the reference's.
    let order = e.context.layout.columns(out);
    Ok(vec![Candidate::new(Deviation::Matrix(MatrixReading::Transposed { order }), says)])
}

/// The same vector added to every token. It has one free number per column, so it is solved from every other
/// token and must be right for the tokens in between.
fn bias(e: &Evidence<'_>, made: &[Deviation]) -> Result<Vec<Candidate>> {
    let mut all = Vec::new();
    if let Some(name) = own_bias(e) {
        let without = vector(e.context.weights, name)?.into_iter().map(|b| -b).collect();
        let dropped = Candidate::new(Deviation::Bias(without), format!("you do not add {name}"));
        let made = [made, std::slice::from_ref(&dropped.deviation)].concat();
        if fit(e, run(e, &made)?.as_ref(), None).residual <= 1.0 {
            return Ok(vec![dropped]); // no other vector is needed
        }
        all.push(dropped);
    }
    if e.got.len() < 3 || e.context.site.kind == Kind::Logits {
        return Ok(all);
    }
    let Some(right) = run(e, made)? else { return Ok(all) };
    let half = e.got.len().div_ceil(2);
    let mean = |j: usize| {
        let differences = (0..e.got.len()).step_by(2).map(|r| e.got.row(r)[j] - right.rows.row(r)[j]);
        differences.sum::<f64>() / half as f64
    };
    let bias = (0..e.got.width).map(mean).collect();
    let says = "you leave out a bias, or add one: your output differs by the same vector for every token";
    all.push(Candidate::new(Deviation::Bias(bias), says).solved());
    Ok(all)
}

/// The bias of the site's own operation.
fn own_bias<'a>(e: &'a Evidence<'_>) -> Option<&'a str> {
    match &e.node()?.operation {
        Operation::Linear(linear) => linear.bias.as_deref(),
        _ => None,
    }
}

fn low(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    Ok(low_factors(e).into_iter().map(|(low, says)| Candidate::new(low, says)).collect())
}

/// Products whose factors have another precision than the port's, each with its sentence.
pub(super) fn low_factors(e: &Evidence<'_>) -> Vec<(Deviation, String)> {
    let all = [
        (LowFactors::Half(DType::BF16), "bf16", DType::BF16),
        (LowFactors::Half(DType::F16), "f16", DType::F16),
        (LowFactors::Tf32, "TF32", DType::F16),
    ];
    let others = all.into_iter().filter(|(_, _, dtype)| *dtype != e.context.dtype);
    let says = |format: &str| format!("you round both factors of your matrix products to {format}");
    others.map(|(low, format, _)| (Deviation::LowFactors(low), says(format))).collect()
}
