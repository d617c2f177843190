//! Attention: who sees whom, which head looks at which, and by what scores are scaled.

use super::attention_solve as solve;
use super::fit::ANY;
use super::search::{Turned, Twist, search};
use super::{Diagnosis, Evidence};
use crate::Result;
use crate::oracle::{Heads, Rows, Slots, context, scores, softmax};
use crate::probe::Kind;

/// Everything that a port can choose.
#[derive(Clone)]
pub(super) struct Attend {
    /// Query heads on key heads, and the scale of scores.
    pub heads: Heads,
    /// Query heads on value heads.
    pub values: Heads,
    /// Who sees whom.
    sees: Sees,
    /// What a barred score is in the sum of the softmax: 0, or e^0 for padding, or for all.
    leaks: Leaks,
    /// How keys and values are read.
    misread: Option<Misread>,
}

/// Which slots a query sees, of those that hold a token unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sees {
    Past,
    All {
        pads: bool,
    },
    Future {
        own: bool,
    },
    /// As if this call were the first.
    FromZero,
    /// As the batch's first row.
    AsRow0,
    /// The past without the token itself.
    Before,
    /// The last so many.
    Last(usize),
    /// The past, and padding, whose scores are as they come, or 0.
    Pads {
        zero: bool,
    },
}

/// Memory read without its strides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Misread {
    /// `[seq, heads, head_dim]` as `[heads, seq, head_dim]`.
    Heads,
    /// A cache of `length` slots a head, zeros where nothing was written, as one of as many as are full.
    Buffer { length: usize },
}

/// Barred scores that a softmax counts as 0.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaks {
    None,
    Pads,
    All,
}

const TWISTS: [Twist<Attend>; 5] = [
    Twist { mistake: "mask-missing", fingerprint: |_| false, turn: masks, pairs: true },
    Twist { mistake: "pads-visible", fingerprint: |_| false, turn: leaks, pairs: false },
    Twist { mistake: "storage-offset", fingerprint: |_| false, turn: misread, pairs: false },
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
    let honest = Attend { values: heads.clone(), heads, sees: Sees::Past, leaks: Leaks::None, misread: None };
    search(e, &honest, run, &TWISTS)
}

/// Is the site computed from queries and keys here?
fn from_queries(e: &Evidence<'_>) -> bool {
    e.site.kind == Kind::Scores || fused(e)
}

/// A fused kernel: from queries, keys and values to their context.
fn fused(e: &Evidence<'_>) -> bool {
    e.site.kind == Kind::Context && e.hides.contains(&Kind::Probs)
}

fn run(e: &Evidence<'_>, choice: &Attend) -> Result<Rows> {
    Ok(compute(e, choice).unwrap_or_else(|| Rows::new(1, vec![])))
}

fn compute(e: &Evidence<'_>, choice: &Attend) -> Option<Rows> {
    let batch = e.tokens.batch();
    match e.site.kind {
        Kind::Scores => masked(e, choice),
        Kind::Probs => Some(probs(e, &e.fed(e.beside(Kind::Scores))?, choice.leaks)),
        _ => {
            let (v, slots) = e.cached(Kind::VProj)?;
            let v = choice
                .misread
                .map_or(Some(v.clone()), |how| solve::misread(e, &v, choice.values.head_dim, how))?;
            let probs = match fused(e) {
                true => probs(e, &masked(e, choice)?, choice.leaks),
                false => e.fed(e.beside(Kind::Probs))?,
            };
            Some(context(&probs, &v, &batch, &slots, &choice.values))
        }
    }
}

fn masked(e: &Evidence<'_>, choice: &Attend) -> Option<Rows> {
    let (k, slots) = e.cached(Kind::KRope)?;
    let k =
        choice.misread.map_or(Some(k.clone()), |how| solve::misread(e, &k, choice.heads.head_dim, how))?;
    let q = e.fed(e.beside(Kind::QRope))?;
    let places = &e.tokens.places;
    let sees = |r: usize, batch: usize, slot: usize| choice.sees.sees(e, &slots, places[r], batch, slot);
    let mut scores = scores(&q, &k, &e.tokens.batch(), &slots, &choice.heads, sees);
    // Padding has keys too, that nobody knows.
    let (width, t) = (scores.width, slots.len());
    for (r, &(batch, slot)) in places.iter().enumerate() {
        for column in 0..width {
            let key = column % t;
            if slots.at(batch, key).is_none() && choice.sees.sees_pads(e, &slots, slot, key) {
                scores.values[r * width + column] = match choice.sees {
                    Sees::Pads { zero: true } => 0.0,
                    _ => ANY,
                };
            }
        }
    }
    Some(scores)
}

impl Sees {
    /// Does the query at `place` see the token in `slot`?
    fn sees(self, e: &Evidence<'_>, slots: &Slots, place: (usize, usize), _: usize, slot: usize) -> bool {
        let own = place.1;
        match self {
            Self::Past | Self::Pads { .. } => slot <= own,
            Self::All { .. } => true,
            Self::Future { own: too } => slot > own || (too && slot == own),
            Self::FromZero => slot + e.window.start <= own,
            Self::AsRow0 => slot <= own && slots.at(0, slot).is_some(),
            Self::Before => slot < own,
            Self::Last(n) => slot <= own && own - slot < n,
        }
    }

    /// Does the query in slot `own` see the padding in `key`?
    fn sees_pads(self, _: &Evidence<'_>, slots: &Slots, own: usize, key: usize) -> bool {
        match self {
            Self::Past | Self::FromZero | Self::Before | Self::Last(_) => false,
            Self::All { pads } => pads,
            Self::Future { .. } => false,
            Self::AsRow0 => key <= own && slots.at(0, key).is_some(),
            Self::Pads { .. } => key <= own,
        }
    }
}

/// Softmax; with leaks, barred entries count e^0 in its sum and are gone behind it.
fn probs(e: &Evidence<'_>, scores: &Rows, leaks: Leaks) -> Rows {
    let t = scores.width / e.config().num_attention_heads;
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
    let slots = e.all.slots();
    let leaky = Rows::from_fn(scores.len(), scores.width, |r, j| {
        let (score, key) = (scores.row(r)[j], j % t);
        let pad = slots.at(e.tokens.places[r].0, key).is_none();
        let leaks = score == f64::NEG_INFINITY && (leaks == Leaks::All || pad);
        if leaks { 0.0 } else { score }
    });
    softmax(&leaky, t)
}

fn masks(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    if !from_queries(e) {
        return Ok(vec![]);
    }
    let turned = |sees, name, says: String, fix: &str| {
        Turned::new(Attend { sees, ..choice.clone() }, says, fix).named(name)
    };
    let causal = "bar key j to query i unless j ≤ i + (keys − queries)";
    let mut all = vec![
        turned(
            Sees::All { pads: false },
            "mask-missing",
            "you see the future: no causal mask".into(),
            causal,
        ),
        turned(
            Sees::All { pads: true },
            "mask-missing",
            "you see the future and padding: no mask".into(),
            causal,
        ),
        turned(
            Sees::Future { own: false },
            "mask-inverted",
            "your mask bars the past and shows the future".into(),
            causal,
        ),
        turned(
            Sees::Future { own: true },
            "mask-inverted",
            "your mask bars the past and shows the future".into(),
            causal,
        ),
        turned(
            Sees::Before,
            "mask-twice",
            "a token does not see itself: causality is applied twice".into(),
            "mask once: either a mask or a causal kernel, with the diagonal kept",
        ),
        turned(
            Sees::AsRow0,
            "mask-first-row",
            "the mask of the batch's first row serves all rows".into(),
            "make the mask [batch, 1, queries, keys], each row with its own padding",
        ),
        turned(
            Sees::Pads { zero: false },
            "pads-visible",
            "you see padding".into(),
            "bar padded keys with −inf before the softmax",
        ),
        turned(
            Sees::Pads { zero: true },
            "pads-visible",
            "padded keys have a score of 0, not −inf".into(),
            "bar padded keys with −inf: a score of 0 is e^0 = 1 in the softmax",
        ),
    ];
    if e.window.start > 0 {
        let says = format!(
            "{} tokens are cached, and your mask begins at its upper left corner: query i of the call sees key j ≤ i only",
            e.window.start
        );
        all.push(turned(Sees::FromZero, "mask-square", says, causal));
    }
    if let Some(n) = solve::window(e) {
        let says = format!("a token sees the last {n} only; the config has no window");
        all.push(turned(Sees::Last(n), "sliding-window", says, "Llama attends to all of the past"));
    }
    Ok(all)
}

fn leaks(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    if e.site.kind != Kind::Probs && !fused(e) {
        return Ok(vec![]);
    }
    let fix = "bar with −inf before the softmax: a score of 0 is e^0 = 1 in its sum";
    let turned = [(Leaks::Pads, "padded keys"), (Leaks::All, "barred keys")].map(|(leaks, what)| {
        let says = format!("{what} have a score of 0, not −inf: each takes its share of the softmax");
        Turned::new(Attend { leaks, ..choice.clone() }, says, fix)
    });
    Ok(turned.into())
}

fn misread(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    let whole = e.all.places.len() == e.all.length && e.all.batch().iter().all(|&b| b == 0);
    if e.site.kind == Kind::Probs || !whole {
        return Ok(vec![]);
    }
    let fix = "call `contiguous()` before a kernel that reads plain memory";
    let turned = |how, says: String| Turned::new(Attend { misread: Some(how), ..choice.clone() }, says, fix);
    let mut all = vec![turned(
        Misread::Heads,
        "keys or values are read as they lie in memory, [seq, heads, head_dim], where [heads, seq, head_dim] was \
         meant: strides are ignored"
            .into(),
    )];
    for length in (5..14).map(|power| 1 << power).chain([e.config().max_position_embeddings]) {
        let says = "keys or values are read as if the cache's buffer were no longer than what is in it: strides \
                    are ignored";
        all.push(turned(Misread::Buffer { length }, says.into()));
    }
    Ok(all)
}

fn head_map(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    let (n, kv) = (choice.heads.count(), e.config().num_key_value_heads);
    let grouped = &choice.heads.looks_at;
    let tiled: Vec<usize> = (0..n).map(|h| h % kv).collect();
    let mut maps = vec![tiled.clone(), (0..n).map(|h| kv - 1 - h / (n / kv)).collect(), vec![0; n]];
    if e.site.kind == Kind::Scores {
        maps.extend(masked(e, choice).and_then(|_| solve::map(e, &choice.heads)));
    }
    maps.retain(|map| map != grouped);
    maps.dedup();
    let with = |heads: &Heads, map: &[usize]| Heads { looks_at: map.into(), ..heads.clone() };
    let turned = maps.into_iter().map(|map| {
        let says = match map == tiled {
            true => format!("your query head h looks at key head h mod {kv}; it is h / {}", n / kv),
            false => format!("your query heads look at key heads {map:?}; they should at {grouped:?}"),
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
    let found = match e.site.kind {
        Kind::Scores => masked(e, choice).and_then(|scores| solve::ratio(e, &scores, right)),
        _ => solve::scale(e, right, &|scale| compute(e, &with(scale))),
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
