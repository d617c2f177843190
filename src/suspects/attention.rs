//! Attention: who sees whom, which head looks at which, and by what scores are scaled.

use candle_core::DType;

use super::attend::{Attend, Leaks, Sees, from_queries, fused};
use super::attention_solve as solve;
use super::fit::Expected;
use super::search::{Turned, Twist, search};
use super::soft::HalfSoftmax;
use super::{Diagnosis, Evidence, masks, misread};
use crate::Result;
use crate::oracle::{Heads, Rows, Slots, context, scores, softmax};
use crate::probe::Kind;

const TWISTS: [Twist<Attend>; 6] = [
    Twist { mistake: "mask-missing", fingerprint: |_| false, turn: masks::masks, pairs: true },
    Twist { mistake: "pads-visible", fingerprint: |_| false, turn: masks::leaks, pairs: false },
    Twist { mistake: "softmax-half", fingerprint: |_| false, turn: half, pairs: false },
    Twist { mistake: "storage-offset", fingerprint: |_| false, turn: misread::misread, pairs: false },
    Twist { mistake: "head-map", fingerprint: |_| false, turn: head_map, pairs: true },
    Twist { mistake: "attention-scale", fingerprint: |_| false, turn: scale, pairs: true },
];

/// Which mistake of the attention is it?
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    let config = e.config();
    let (n, kv, d) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
    if !n.is_multiple_of(kv) || !e.want.width.is_multiple_of(n) {
        return Ok(Diagnosis::default());
    }
    let heads = Heads::grouped(n, kv, d);
    let values = heads.clone();
    let honest = Attend { values, heads, sees: Sees::Past, leaks: Leaks::None, soft: None, misread: None };
    search(e, &honest, run, &TWISTS)
}

fn run(e: &Evidence<'_>, choice: &Attend) -> Result<Option<Expected>> {
    Ok(compute(e, choice))
}

fn compute(e: &Evidence<'_>, choice: &Attend) -> Option<Expected> {
    let batch = e.tokens.batch();
    match e.red.site.kind {
        Kind::Scores => masked(e, choice),
        Kind::Probs => Some(probs(e, &e.fed(e.beside(Kind::Scores))?, choice).into()),
        _ => {
            let (mut v, slots) = cached(e, Kind::VProj, choice, choice.values.head_dim)?;
            if choice.leaks != Leaks::None {
                without_pads(e, &mut v, &slots);
            }
            let probs = if fused(e) {
                probs(e, &masked(e, choice)?.known()?, choice)
            } else {
                e.fed(e.beside(Kind::Probs))?
            };
            Some(context(&probs, &v, &batch, &slots, &choice.values).into())
        }
    }
}

/// Keys or values as they are read.
fn cached(e: &Evidence<'_>, kind: Kind, choice: &Attend, head_dim: usize) -> Option<(Rows, Slots)> {
    let (rows, slots) = e.cached(kind)?;
    let rows = match choice.misread {
        None => rows,
        Some(how) => misread::read(e, &rows, head_dim, how)?,
    };
    Some((rows, slots))
}

/// What has taken its share of a softmax and is gone behind it has no value.
fn without_pads(e: &Evidence<'_>, values: &mut Rows, slots: &Slots) {
    let (real, width) = (e.red.all.slots(), values.width);
    for batch in 0..e.red.all.batch().last().map_or(0, |last| last + 1) {
        let pads = (0..slots.len()).filter(|&slot| real.at(batch, slot).is_none());
        for row in pads.filter_map(|slot| slots.at(batch, slot)) {
            values.values[row * width..][..width].fill(0.0);
        }
    }
}

fn masked(e: &Evidence<'_>, choice: &Attend) -> Option<Expected> {
    let (k, slots) = cached(e, Kind::KRope, choice, choice.heads.head_dim)?;
    let q = e.fed(e.beside(Kind::QRope))?;
    let (places, real, zero) =
        (&e.tokens.places, e.red.all.slots(), choice.sees == Sees::Pads { zero: true });
    let pad = |batch: usize, key: usize| real.at(batch, key).is_none();
    let sees =
        |r: usize, batch: usize, key: usize| choice.sees.sees(e, &real, places[r].1, (key, pad(batch, key)));
    let mut scores = scores(&q, &k, &e.tokens.batch(), &slots, &choice.heads, sees);
    // Padding has keys too; where they are not known, so are their scores.
    let (width, t) = (scores.width, slots.len());
    let mut unknown = vec![false; scores.values.len()];
    for (r, &(batch, _)) in places.iter().enumerate() {
        for column in 0..width {
            let key = column % t;
            let unrecorded = slots.at(batch, key).is_none();
            if pad(batch, key) && (zero || unrecorded) && sees(r, batch, key) {
                scores.values[r * width + column] = 0.0;
                unknown[r * width + column] = !zero;
            }
        }
    }
    Some(Expected::but_for(scores, unknown))
}

/// Softmax; with leaks, barred entries count e^0 in its sum and are gone behind it.
fn probs(e: &Evidence<'_>, scores: &Rows, &Attend { leaks, soft, .. }: &Attend) -> Rows {
    let t = scores.width / e.config().num_attention_heads;
    if let Some(soft) = soft {
        return soft.of(scores, t);
    }
    if leaks == Leaks::None {
        let mut probs = softmax(scores, t);
        // What sees nothing is 0 / 0 to a plain softmax.
        for (run, scores) in probs.values.chunks_exact_mut(t).zip(scores.values.chunks_exact(t)) {
            if scores.iter().all(|&s| s == f64::NEG_INFINITY) {
                run.fill(f64::NAN);
            }
        }
        return probs;
    }
    let slots = e.red.all.slots();
    let leaky = Rows::from_fn(scores.len(), scores.width, |r, j| {
        let (score, key) = (scores.row(r)[j], j % t);
        let pad = slots.at(e.tokens.places[r].0, key).is_none();
        let leaks = score == f64::NEG_INFINITY && (leaks == Leaks::All || pad);
        if leaks { 0.0 } else { score }
    });
    softmax(&leaky, t)
}

/// Every way of taking the softmax in half precision.
fn half(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    if e.red.site.kind != Kind::Probs && !fused(e) {
        return Ok(vec![]);
    }
    let fix = "go to f32 before the softmax, and back behind it";
    let mut turned = Vec::new();
    for dtype in [DType::BF16, DType::F16] {
        for terms in [true, false] {
            let soft = HalfSoftmax { dtype, terms };
            let knobs = Attend { soft: Some(soft), ..choice.clone() };
            turned.push(Turned::new(knobs, soft.says(), fix).rounding(dtype));
        }
    }
    Ok(turned)
}

fn head_map(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    let (n, kv) = (choice.heads.count(), e.config().num_key_value_heads);
    let grouped = &choice.heads.looks_at;
    let tiled: Vec<usize> = (0..n).map(|h| h % kv).collect();
    let mut maps = vec![tiled.clone(), (0..n).map(|h| kv - 1 - h / (n / kv)).collect(), vec![0; n]];
    if e.red.site.kind == Kind::Scores {
        maps.extend(masked(e, choice).and_then(|_| solve::map(e, &choice.heads)));
    }
    maps.retain(|map| map != grouped);
    maps.dedup();
    let with = |heads: &Heads, map: &[usize]| Heads { looks_at: map.into(), ..heads.clone() };
    let turned = maps.into_iter().map(|map| {
        let says = if map == tiled {
            format!("your query head h looks at key head h mod {kv}; it is h / {}", n / kv)
        } else {
            format!("your query heads look at key heads {map:?}; they should at {grouped:?}")
        };
        let fix = "repeat each key and value head for its whole group, side by side, as `repeat_kv` does";
        let knobs =
            Attend { heads: with(&choice.heads, &map), values: with(&choice.values, &map), ..choice.clone() };
        Turned::new(knobs, says, fix)
    });
    Ok(turned.collect())
}

fn scale(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    if !from_queries(e) {
        return Ok(vec![]);
    }
    let right = choice.heads.scale;
    let with = |scale: f64| Attend { heads: Heads { scale, ..choice.heads.clone() }, ..choice.clone() };
    let found = match e.red.site.kind {
        Kind::Scores => masked(e, choice).and_then(|scores| solve::ratio(e, &scores, right)),
        _ => solve::scale(e, right, &|scale| compute(e, &with(scale))?.known()),
    };
    let Some(c) = found.filter(|c| !c.allows(right) && c.value > 0.0) else { return Ok(vec![]) };
    let config = e.config();
    let d = config.head_dim as f64;
    let own = config.hidden_size / config.num_attention_heads;
    let known = [
        (1.0, "1: not at all".to_owned()),
        (1.0 / d, "1/head_dim: twice, or without the root".to_owned()),
        (1.0 / (config.hidden_size as f64).sqrt(), "1/√hidden_size".to_owned()),
        (d.sqrt(), "√head_dim: you multiply where you should divide".to_owned()),
        (1.0 / (own as f64).sqrt(), format!("1/√{own}, hidden_size / heads")),
    ];
    let named = known.iter().find(|(value, _)| c.allows(*value));
    let said = named.map_or(String::new(), |(_, said)| format!(", which is {said}"));
    let says = format!("you scale scores by {c}{said}; it is 1/√{}, {right:.6}", config.head_dim);
    let fix = "scale by 1/√head_dim, once, with head_dim from the config";
    let mut turned = vec![Turned::new(with(c.value), says.clone(), fix)];
    if own != config.head_dim && c.allows(1.0 / (own as f64).sqrt()) {
        turned.push(Turned::new(with(c.value), says, fix).named("head-dim"));
    }
    Ok(turned)
}
