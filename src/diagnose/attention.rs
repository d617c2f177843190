//! Finds mistakes in attention: wrong masks, wrong head maps, wrong score scales, softmax in half precision.

use candle_core::DType;

use super::attention_solve as solve;
use super::decide::Hypotheses;
use super::deviation::{Deviation, LowSoftmax, Misread};
use super::run::run;
use super::search::{Candidate, Solver, search};
use super::{Evidence, masks};
use crate::Result;
use crate::graph::HeadMap;
use crate::probe::Kind;

const SOLVERS: [Solver; 7] = [
    Solver { mistake: "mask-missing", fingerprint: |_| false, solve: masks::masks, pairs: true },
    Solver { mistake: "pads-visible", fingerprint: |_| false, solve: masks::leaks, pairs: false },
    Solver { mistake: "mask-value", fingerprint: |_| false, solve: masks::value, pairs: false },
    Solver { mistake: "softmax-half", fingerprint: |_| false, solve: low, pairs: false },
    Solver { mistake: "storage-offset", fingerprint: |_| false, solve: misread, pairs: false },
    Solver { mistake: "head-map", fingerprint: |_| false, solve: head_map, pairs: true },
    Solver { mistake: "attention-scale", fingerprint: |_| false, solve: scale, pairs: true },
];

/// Finds the mistake in the attention.
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Hypotheses> {
    search(e, &SOLVERS)
}

/// All ways to compute the softmax in half precision.
fn low(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    if !e.computes_softmax() {
        return Ok(vec![]);
    }
    let mut found = Vec::new();
    for dtype in [DType::BF16, DType::F16] {
        for terms in [true, false] {
            let soft = LowSoftmax { dtype, terms };
            found.push(Candidate::new(Deviation::LowSoftmax(soft), soft.says()).rounding(dtype));
        }
    }
    Ok(found)
}

/// Keys and values of one whole sequence, read from memory with the strides ignored.
fn misread(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let (pass, length) = (e.context.pass, e.context.pass.length());
    let whole = pass.places() == (0..length).map(|slot| (0, slot)).collect::<Vec<_>>()
        && pass.places().iter().all(|&place| !super::deviated::is_padding(pass.slot(place)));
    if e.context.site.kind == Kind::Probs || !whole {
        return Ok(vec![]);
    }
    let found = |how, says: &str| Candidate::new(Deviation::Misread(how), says);
    let mut all = vec![found(
        Misread::Heads,
        "you ignore strides: you read keys or values in memory order, [seq, heads, head_dim], but they must be read \
         as [heads, seq, head_dim]",
    )];
    for length in (5..14).map(|power| 1 << power).chain([e.config().max_position_embeddings]) {
        let says = "you ignore strides: you read keys or values as if the cache's buffer were only as long as its \
                    content";
        all.push(found(Misread::Buffer { length }, says));
    }
    Ok(all)
}

/// Wrong maps of `heads` query heads to `kv` key heads that ports use by mistake.
pub(super) fn wrong_maps(heads: usize, kv: usize) -> Vec<HeadMap> {
    if kv == 0 || !heads.is_multiple_of(kv) {
        return vec![];
    }
    let (group, grouped) = (heads / kv, HeadMap::grouped(heads, kv));
    let mut maps = vec![
        tiled(heads, kv),
        HeadMap::new((0..heads).map(|h| kv - 1 - h / group).collect()),
        HeadMap::new(vec![0; heads]),
    ];
    maps.retain(|map| *map != grouped);
    maps
}

fn tiled(heads: usize, kv: usize) -> HeadMap {
    HeadMap::new((0..heads).map(|h| h % kv).collect())
}

fn head_map(e: &Evidence<'_>, made: &[Deviation]) -> Result<Vec<Candidate>> {
    let (n, kv) = (e.config().num_attention_heads, e.config().num_key_value_heads);
    let grouped = HeadMap::grouped(n, kv);
    let mut maps = wrong_maps(n, kv);
    if e.context.site.kind == Kind::Scores && run(e, made)?.is_some() {
        maps.extend(solve::map(e).map(HeadMap::new).filter(|map| *map != grouped));
    }
    maps.dedup();
    // Without scores, the map is that of the values.
    let what = if e.scores().is_some() { "key" } else { "value" };
    let candidate = |map: HeadMap| {
        let says = if map == tiled(n, kv) {
            format!("your query head h uses {what} head h mod {kv}; it should use h / {}", n / kv)
        } else {
            format!("your query heads use {what} heads {:?}; they should use {:?}", &*map, &*grouped)
        };
        Candidate::new(Deviation::LooksAt(map), says)
    };
    Ok(maps.into_iter().map(candidate).collect())
}

fn scale(e: &Evidence<'_>, made: &[Deviation]) -> Result<Vec<Candidate>> {
    let Some((right, softcap)) = e.scores().map(|scores| (scores.scale, scores.softcap)) else {
        return Ok(vec![]);
    };
    let (config, scalar) = (e.config(), e.config().query_pre_attn_scalar);
    let should = format!("the scale should be 1/√{}, {right:.6}", scalar.unwrap_or(config.head_dim as f64));
    if softcap.is_some() {
        // Capped scores are not proportional to the scale: only the usual ones are tried.
        let usual = usual_scales(config).into_iter().filter(|(scale, _)| (scale / right - 1.0).abs() > 1e-9);
        let candidate = |(scale, how): (f64, String)| {
            let says = format!("you scale scores by {scale:.6}, which is {how}; {should}");
            Candidate::new(Deviation::ScoreScale(scale), says)
        };
        return Ok(usual.map(candidate).collect());
    }
    let under = |scale: f64| run(e, &[made, &[Deviation::ScoreScale(scale)]].concat());
    let found = match e.context.site.kind {
        Kind::Scores => run(e, made)?.and_then(|scores| solve::ratio(e, &scores, right)),
        _ => solve::scale(e, right, &|scale| Ok(under(scale)?.and_then(super::fit::Expected::known)))?,
    };
    let Some(c) = found.filter(|c| !c.allows(right) && c.value > 0.0) else { return Ok(vec![]) };
    let own = config.hidden_size / config.num_attention_heads;
    let known = usual_scales(config).into_iter().find(|(value, _)| c.allows(*value));
    let meaning = known.map_or(String::new(), |(_, meaning)| format!(", which is {meaning}"));
    let says = format!("you scale scores by {c}{meaning}; {should}");
    let candidate = || Candidate::new(Deviation::ScoreScale(c.value), says.clone()).solved();
    let of_other_heads = own != config.head_dim && c.allows(1.0 / (own as f64).sqrt());
    Ok([candidate()].into_iter().chain(of_other_heads.then(|| candidate().named("head-dim"))).collect())
}

/// Scales that ports use by mistake, each with its description.
pub(super) fn usual_scales(config: &crate::weights::Config) -> Vec<(f64, String)> {
    let (d, hidden) = (config.head_dim as f64, config.hidden_size as f64);
    let own = config.hidden_size / config.num_attention_heads;
    let of_heads = config.query_pre_attn_scalar.map(|_| (1.0 / d.sqrt(), "1/√head_dim".to_owned()));
    let mut all = vec![
        (1.0, "1: you do not scale at all".to_owned()),
        (1.0 / d, "1/head_dim: you scale twice, or omit the root".to_owned()),
        (1.0 / hidden.sqrt(), "1/√hidden_size".to_owned()),
        (d.sqrt(), "√head_dim: you multiply where you should divide".to_owned()),
        (1.0 / (own as f64).sqrt(), format!("1/√{own}, hidden_size / heads")),
    ];
    let heads = config.num_attention_heads as f64;
    if own as f64 * heads != hidden {
        all.push(((heads / hidden).sqrt(), format!("1/√{:.2}, hidden_size / heads", hidden / heads)));
    }
    all.splice(0..0, of_heads);
    all
}
