//! Linear layers: the weight's order, its rows' order, what is added, what is rounded, and which row
//! of the logits it is.

use candle_core::DType;

use super::fit::Fit;
use super::search::{Turned, Twist, search};
use super::{Diagnosis, Evidence, Named, round};
use crate::Result;
use crate::oracle::{Matrix, Rows, linear};
use crate::probe::Kind;

/// Everything that a port can choose.
#[derive(Clone)]
struct Linear {
    weight: Matrix,
    /// Both factors rounded so.
    low: Option<Low>,
    /// Column j of the port is column `columns[j]` of `among`.
    columns: Option<Vec<usize>>,
    /// Added to every row.
    bias: Option<Vec<f64>>,
}

/// What products are made of.
#[derive(Clone, Copy)]
enum Low {
    Half(DType),
    /// 10 bits behind the point: TensorFloat-32.
    Tf32,
}

const TWISTS: [Twist<Linear>; 5] = [
    Twist { mistake: "absent-tensors", fingerprint: |_| false, turn: zeros, pairs: false },
    Twist { mistake: "weight-transposed", fingerprint: |_| false, turn: transposed, pairs: true },
    Twist { mistake: "qkv-split", fingerprint: |_| false, turn: rows_elsewhere, pairs: false },
    Twist { mistake: "bias-dropped", fingerprint: |_| false, turn: bias, pairs: false },
    Twist { mistake: "gemm-reduced", fingerprint: |_| false, turn: low, pairs: true },
];

/// Logits of more tokens than this are not computed again: their matrix in float64 is too large.
const MANY: usize = 1 << 15;

/// Which mistake of a linear layer is it?
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    if e.site.kind == Kind::Logits
        && let Some(named) = other_row(e)
    {
        return Ok(Diagnosis { named: vec![named], runner_up: None });
    }
    let Some(name) = weight_of(e) else { return Ok(Diagnosis::default()) };
    if e.site.kind == Kind::Logits && e.want.width > MANY {
        return Ok(Diagnosis { named: unrelated(e).into_iter().collect(), runner_up: None });
    }
    let weight = Matrix::read(e.weights, &name)?;
    let honest = Linear { weight, low: None, columns: None, bias: None };
    let mut diagnosis = search(e, &honest, run, &TWISTS)?;
    if e.site.kind == Kind::Logits && diagnosis.named.is_empty() {
        diagnosis.named.extend(unrelated(e));
    }
    Ok(diagnosis)
}

fn weight_of(e: &Evidence<'_>) -> Option<String> {
    match (e.site.kind, e.site.layer) {
        (Kind::Logits, _) if e.config().tie_word_embeddings => Some("model.embed_tokens.weight".into()),
        (Kind::Logits, _) => Some("lm_head.weight".into()),
        (kind, layer) => Some(format!("model.layers.{}.{}.weight", layer?, kind.name())),
    }
}

fn input(e: &Evidence<'_>) -> Option<Rows> {
    e.inputs()?.pop()
}

fn run(e: &Evidence<'_>, choice: &Linear) -> Result<Rows> {
    let Some(x) = input(e) else { return Ok(Rows::new(1, vec![])) };
    let y = match (&choice.columns, choice.low) {
        (Some(columns), _) => match among(e) {
            Some(all) => all.columns(columns.len(), |j| columns[j]),
            None => return Ok(Rows::new(1, vec![])),
        },
        (None, None) => linear(&x, &choice.weight)?,
        (None, Some(low)) => {
            let x = Rows::from_fn(x.len(), x.width, |r, j| low.round(x.row(r)[j]));
            linear(&x, &choice.weight.map(|v| low.round(v))?)?
        }
    };
    let Some(bias) = &choice.bias else { return Ok(y) };
    Ok(Rows::from_fn(y.len(), y.width, |r, j| y.row(r)[j] + bias[j]))
}

impl Low {
    fn round(self, v: f64) -> f64 {
        match self {
            Self::Half(dtype) => round(v, dtype),
            Self::Tf32 => f64::from(f32::from_bits(((v as f32).to_bits() + 0x1000) & !0x1fff)),
        }
    }
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
    if e.site.kind == Kind::Logits {
        return Ok(vec![]);
    }
    let (out, width) = choice.weight.shape();
    let fix = "weights are [out, in]: multiply with the transpose, as `candle_nn::Linear` does";
    let (weight, says) = match out == width {
        true => (choice.weight.transposed()?, "you multiply with W; it is square, and wants Wᵀ".to_owned()),
        false => (
            choice.weight.read_as_transposed()?,
            format!("you read the numbers of a [{out}, {width}] weight as [{width}, {out}]"),
        ),
    };
    Ok(vec![Turned::new(Linear { weight, ..choice.clone() }, says, fix)])
}

/// The outputs that a port may have mixed up with this one's, side by side.
fn among(e: &Evidence<'_>) -> Option<Rows> {
    let kinds: &[Kind] = match e.site.kind {
        Kind::QProj | Kind::KProj | Kind::VProj => &[Kind::QProj, Kind::KProj, Kind::VProj],
        Kind::Gate | Kind::Up => &[Kind::Gate, Kind::Up],
        _ => return None,
    };
    let all = kinds.iter().map(|&kind| e.fed(e.beside(kind))).collect::<Option<Vec<_>>>()?;
    let width = all.iter().map(|rows| rows.width).sum();
    let row = |r: usize| all.iter().flat_map(move |rows| rows.row(r)).copied();
    Some(Rows::new(width, (0..e.got.len()).flat_map(row).collect()))
}

/// Where each column of the port's is found among those that it may be mixed up with.
fn rows_elsewhere(e: &Evidence<'_>, choice: &Linear) -> Result<Vec<Turned<Linear>>> {
    let Some(all) = among(e) else { return Ok(vec![]) };
    let start = match e.site.kind {
        Kind::KProj => e.config().query_width(),
        Kind::VProj => e.config().query_width() + e.config().key_width(),
        Kind::Up => e.config().intermediate_size,
        _ => 0,
    };
    let budgets: Vec<f64> = (0..e.got.len()).map(|r| e.budget(r, e.got.row(r)).max).collect();
    let same =
        |j: usize, c: usize| (0..e.got.len()).all(|r| (e.got.row(r)[j] - all.row(r)[c]).abs() <= budgets[r]);
    // One token alone cannot tell columns apart for sure.
    if e.got.len() < 2 {
        return Ok(vec![]);
    }
    let find = |j: usize| std::iter::once(start + j).chain(0..all.width).find(|&c| same(j, c));
    let Some(columns) = (0..e.got.width).map(find).collect::<Option<Vec<usize>>>() else { return Ok(vec![]) };
    let d = e.config().head_dim;
    let own = columns.iter().all(|c| (start..start + e.got.width).contains(c));
    let in_heads = columns.iter().enumerate().all(|(j, c)| (start + j) / d == c / d);
    let knobs = Linear { columns: Some(columns), ..choice.clone() };
    Ok(vec![match e.site.kind {
        Kind::Gate | Kind::Up => {
            let (is, other) = if e.site.kind == Kind::Gate { ("gate", "up") } else { ("up", "gate") };
            let says = format!("your {is}_proj gives what {other}_proj should");
            Turned::new(knobs, says, "exchange the two weights").named("gate-up-swapped")
        }
        Kind::QProj | Kind::KProj if own && in_heads => {
            let says = "your rows are the right ones in another order within each head: \
                        permuted for the other rope";
            let fix = "GGUF's q and k rows lie for `rope_i`, Hugging Face's for `rope`: permute exactly once, \
                       or rotate as the file wants it";
            Turned::new(knobs, says, fix).named("unpermuted-qk")
        }
        _ => {
            let says = "your rows are right ones of q, k and v, at the wrong places";
            Turned::new(
                knobs,
                says,
                "split a fused matrix as it was put together: all q, then all k, then all v",
            )
        }
    }])
}

/// The same vector added to every token.
fn bias(e: &Evidence<'_>, choice: &Linear) -> Result<Vec<Turned<Linear>>> {
    if e.got.len() < 3 || e.site.kind == Kind::Logits {
        return Ok(vec![]);
    }
    let right = run(e, choice)?;
    let mean = |j: usize| {
        let differences = (0..e.got.len()).map(|r| e.got.row(r)[j] - right.row(r)[j]);
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
        if dtype == e.dtype {
            continue;
        }
        let says = format!("both factors of your products are rounded to {said}");
        let fix =
            "forbid reduced-precision products: `candle_core::cuda::set_gemm_reduced_precision_f32(false)`";
        turned.push(Turned::new(Linear { low: Some(low), ..choice.clone() }, says, fix));
    }
    Ok(turned)
}

/// Logits of another row: the one before, the one after, the first, the last.
fn other_row(e: &Evidence<'_>) -> Option<Named> {
    let places = &e.tokens.places;
    let at = |r: usize, by: isize| {
        let (batch, slot) = places[r];
        places.binary_search(&(batch, slot.checked_add_signed(by)?)).ok()
    };
    let shifted = [(-1isize, "before"), (1, "after")].into_iter().find_map(|(by, said)| {
        let pairs: Vec<(usize, usize)> = (0..places.len()).filter_map(|r| Some((r, at(r, by)?))).collect();
        let fit = moved(e, &pairs)?;
        Some((fit, format!("your row t holds the logits of the row {said} it")))
    });
    let (fit, says) = shifted?;
    let fix =
        "take the logits of the row whose next token is wanted: of the last real token of each row".into();
    Some(Named { mistake: "logit-row", says, fix, residual: fit.residual, flips: fit.flips })
}

/// Is row `a` of the port what row `b` should be, for all of these, and at least two?
fn moved(e: &Evidence<'_>, pairs: &[(usize, usize)]) -> Option<Fit> {
    let mut worst = Fit { residual: 0.0, flips: 0 };
    for &(a, b) in pairs {
        let (got, want) = (e.got.row(a), e.want.row(b));
        let budget = e.budget(b, want);
        let error = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
        worst.residual = worst.residual.max(error / budget.max);
    }
    (pairs.len() > 1 && worst.residual <= 1.0).then_some(worst)
}

/// Logits that have nothing to do with truth, of a head that is tied.
fn unrelated(e: &Evidence<'_>) -> Option<Named> {
    let correlation = |r: usize| {
        let (got, want) = (e.got.row(r), e.want.row(r));
        let n = got.len() as f64;
        let (mg, mw) = (got.iter().sum::<f64>() / n, want.iter().sum::<f64>() / n);
        let (mut gw, mut gg, mut ww) = (0.0, 0.0, 0.0);
        for (g, w) in got.iter().zip(want) {
            gw += (g - mg) * (w - mw);
            gg += (g - mg) * (g - mg);
            ww += (w - mw) * (w - mw);
        }
        gw / (gg * ww).sqrt()
    };
    let rows = e.got.len();
    if rows < 2 || !e.config().tie_word_embeddings {
        return None;
    }
    let constant = (1..rows).all(|r| e.got.row(r) == e.got.row(0));
    if constant {
        let says = "your logits do not depend on the input".into();
        let fix = "run the same on the CPU: a kernel of this device is missing or wrong".into();
        return Some(Named { mistake: "device-kernel", says, fix, residual: 0.0, flips: 0 });
    }
    let unrelated = (0..rows).all(|r| correlation(r).abs() < 0.3);
    unrelated.then(|| Named {
        mistake: "lm-head-random",
        says:
            "the final norm is right and your logits are unrelated to the reference's, row by row: your head \
               is not the embedding that the config ties it to"
                .into(),
        fix: "use the embedding as the output matrix where `tie_word_embeddings` is true".into(),
        residual: 0.0,
        flips: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_keeps_ten_bits() {
        assert_eq!(Low::Tf32.round(1.0 + 2f64.powi(-10)), 1.0 + 2f64.powi(-10));
        assert_eq!(Low::Tf32.round(1.0 + 2f64.powi(-12)), 1.0);
    }
}
