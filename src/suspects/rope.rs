//! Rotary positions: pairs, angles, positions, and tables of low precision.

use candle_core::DType;

use super::fit::Expected;
use super::rope_solve::{self as solve, Measured};
use super::search::{Turned, Twist, search};
use super::{Diagnosis, Evidence};
use crate::Result;
use crate::oracle::{Pairing, Rows, frequency, rotate};
use crate::probe::Layout;

/// Everything that a port can choose.
#[derive(Clone)]
pub(super) struct Rope {
    /// Which elements turn together, in the reference's order, `[head_dim/2]`.
    pub pairs: Vec<(usize, usize)>,
    /// By what each row is rotated, `[rows]`.
    pub positions: Vec<f64>,
    /// Radians a position, `[head_dim/2]`.
    pub frequencies: Vec<f64>,
    tables: Option<Tables>,
}

/// What is rounded to a half dtype.
#[derive(Clone, Copy)]
struct Tables {
    dtype: DType,
    frequencies: bool,
    positions: bool,
    angles: bool,
    cosines: bool,
}

const TWISTS: [Twist<Rope>; 6] = [
    Twist { mistake: "rope-pairing", fingerprint: |e| e.position_0_agrees(), turn: pairing, pairs: true },
    Twist { mistake: "rope-theta", fingerprint: |e| e.position_0_agrees(), turn: theta, pairs: true },
    Twist { mistake: "head-dim", fingerprint: |_| false, turn: head_dim, pairs: true },
    Twist { mistake: "rope-scaling", fingerprint: |_| false, turn: scaling, pairs: true },
    Twist { mistake: "decode-position", fingerprint: |_| false, turn: positions, pairs: true },
    Twist { mistake: "rope-half-tables", fingerprint: |_| false, turn: half_tables, pairs: true },
];

/// Which mistake of the rotation is it?
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    let (config, d) = (e.config(), e.config().head_dim);
    if d < 4 || !e.want.width.is_multiple_of(d) {
        return Ok(Diagnosis::default());
    }
    let honest = Rope {
        pairs: Pairing::Halves.pairs(d),
        positions: e.tokens.positions.iter().map(|&p| p as f64).collect(),
        frequencies: (0..d / 2).map(|i| frequency(config.rope_theta, i, d)).collect(),
        tables: None,
    };
    search(e, &honest, run, &TWISTS)
}

fn run(e: &Evidence<'_>, rope: &Rope) -> Result<Option<Expected>> {
    let Some(x) = input(e) else { return Ok(None) };
    let rows = rotate(&x, &rope.pairs, |r, i| match rope.tables {
        None => (rope.positions[r] * rope.frequencies[i]).sin_cos(),
        Some(tables) => tables.sin_cos(rope.positions[r], rope.frequencies[i]),
    });
    Ok(Some(rows.into()))
}

fn input(e: &Evidence<'_>) -> Option<Rows> {
    e.inputs()?.pop()
}

fn measured(e: &Evidence<'_>, rope: &Rope) -> Option<Vec<Vec<Measured>>> {
    Some(solve::angles(e, &input(e)?, &rope.pairs))
}

impl Tables {
    fn sin_cos(self, position: f64, frequency: f64) -> (f64, f64) {
        let low = |yes: bool, v: f64| if yes { super::round(v, self.dtype) } else { v };
        let angle = low(self.positions, position) * low(self.frequencies, frequency);
        let (sin, cos) = low(self.angles, angle).sin_cos();
        (low(self.cosines, sin), low(self.cosines, cos))
    }
}

fn pairing(e: &Evidence<'_>, rope: &Rope) -> Result<Vec<Turned<Rope>>> {
    let d = e.config().head_dim;
    let (pairs, says, fix) = match &e.red.layout {
        // An order that nobody has named: the other pairing of it is as good as any.
        Layout::Permuted(_) => return Ok(vec![]),
        Layout::Reference => (
            Pairing::Neighbours.pairs(d),
            "you rotate neighbouring elements, 2i with 2i + 1; these weights want halves, i with i + head_dim/2",
            "use `candle_nn::rotary_emb::rope`, or permute q and k for `rope_i`",
        ),
        Layout::Interleaved { .. } => {
            // Halves of the port's own order, said in the reference's.
            let own = |a: usize| a / 2 + a % 2 * (d / 2);
            (
                (0..d / 2).map(|i| (own(i), own(i + d / 2))).collect(),
                "you rotate halves, i with i + head_dim/2; these weights want neighbours, 2i with 2i + 1",
                "use `candle_nn::rotary_emb::rope_i`, or un-permute q and k for `rope`",
            )
        }
    };
    Ok(vec![Turned::new(Rope { pairs, ..rope.clone() }, says, fix)])
}

/// What ports take where they do not read the config: Llama's own, Llama 3's, Mistral's.
const DEFAULTS: [f64; 3] = [1e4, 5e5, 1e6];

fn theta(e: &Evidence<'_>, rope: &Rope) -> Result<Vec<Turned<Rope>>> {
    let (d, own) = (e.config().head_dim, e.config().rope_theta);
    let found = measured(e, rope).and_then(|angles| solve::theta(&angles, &rope.positions));
    let told: Vec<(f64, String)> = match found.filter(|theta| !theta.allows(own)) {
        Some(theta) => vec![(theta.value, theta.to_string())],
        // Half precision leaves angles too coarse to solve for: then it is one of few, or nothing.
        None if e.red.dtype != DType::F32 => {
            let others = DEFAULTS.into_iter().filter(|&theta| theta != own);
            others.map(|theta| (theta, format!("{theta} or near it"))).collect()
        }
        None => vec![],
    };
    let turned = |(theta, said): (f64, String)| {
        let frequencies = (0..d / 2).map(|i| frequency(theta, i, d)).collect();
        Turned::new(
            Rope { frequencies, ..rope.clone() },
            format!("you used θ = {said}; the config says {own} ({})", e.key("rope_theta")),
            "take θ from the config of these weights: no default fits all of them",
        )
    };
    Ok(told.into_iter().map(turned).collect())
}

/// Frequencies made for heads of hidden_size / heads.
fn head_dim(e: &Evidence<'_>, rope: &Rope) -> Result<Vec<Turned<Rope>>> {
    let config = e.config();
    let (d, own) = (config.head_dim, config.hidden_size / config.num_attention_heads);
    if own == d {
        return Ok(vec![]);
    }
    let frequencies = (0..d / 2).map(|i| frequency(config.rope_theta, i, own)).collect();
    Ok(vec![Turned::new(
        Rope { frequencies, ..rope.clone() },
        format!("you divide 2i by {own}, hidden_size / heads; a head is {d} wide ({})", e.key("head_dim")),
        "take head_dim from the config",
    )])
}

fn scaling(e: &Evidence<'_>, rope: &Rope) -> Result<Vec<Turned<Rope>>> {
    let Some(angles) = measured(e, rope) else { return Ok(vec![]) };
    let fix = "scale the angles exactly as the config's rope_scaling says, and not at all where it has none";
    let turned = solve::scaled(&angles, &rope.positions, &rope.frequencies).into_iter().map(|scaled| {
        Turned::new(Rope { frequencies: scaled.frequencies, ..rope.clone() }, scaled.says, fix)
    });
    Ok(turned.collect())
}

/// The position of every row, solved for.
fn positions(e: &Evidence<'_>, rope: &Rope) -> Result<Vec<Turned<Rope>>> {
    let limit = e.config().max_position_embeddings.max(2 * e.red.all.length);
    let found = measured(e, rope).and_then(|angles| solve::positions(&angles, &rope.frequencies, limit));
    let Some(found) = found else { return Ok(vec![]) };
    let own = &e.tokens.positions;
    let Some(first) = (0..found.len()).find(|&r| found[r] != own[r]) else { return Ok(vec![]) };
    let knobs = Rope { positions: found.iter().map(|&p| p as f64).collect(), ..rope.clone() };
    let slots = e.tokens.places.iter().map(|&(_, slot)| slot);
    let shift = found[first].wrapping_sub(own[first]);
    let shifted = (0..found.len()).all(|r| found[r].wrapping_sub(own[r]) == shift);
    let in_pieces = e.red.window != (0..e.red.all.length);
    let at = format!("position {} is rotated as {}", own[first], found[first]);
    if slots.eq(found.iter().copied()) {
        let says = format!("you count the padding on the left as positions: {at}");
        let fix = "count positions from each row's first real token";
        return Ok(vec![Turned::new(knobs, says, fix).named("pad-positions")]);
    }
    if in_pieces && e.red.first_layer_agrees && shifted {
        let says = format!("layer 0 is right and layer {} is not: {at}", e.red.site.layer.unwrap_or(0));
        let fix = "let all layers read one position for a call, and advance it once behind the last";
        return Ok(vec![Turned::new(knobs, says, fix).named("shared-counter")]);
    }
    let fix = "pass the number of tokens in the cache as the position of the first token of a call";
    let jumps = if shifted && found[first] > own[first] {
        format!("every position is {} too high: {at}", found[first] - own[first])
    } else {
        at.clone()
    };
    let mut turned = Vec::new();
    // The more special of two that explain the same comes first.
    if in_pieces && shifted && shift == e.red.window.start {
        let says = format!("you count what is fed again a second time: {at}");
        let fix = "without a cache begin every call at position 0";
        turned.push(Turned::new(knobs.clone(), says, fix).named("uncached-position"));
    }
    turned.push(Turned::new(knobs, jumps, fix));
    Ok(turned)
}

fn half_tables(_: &Evidence<'_>, rope: &Rope) -> Result<Vec<Turned<Rope>>> {
    let exact = |dtype| Tables { dtype, positions: false, frequencies: false, angles: false, cosines: false };
    let mut turned = Vec::new();
    for dtype in [DType::BF16, DType::F16] {
        let exact = exact(dtype);
        let made = Tables { frequencies: true, positions: true, angles: true, ..exact };
        for (tables, how) in [
            (Tables { cosines: true, ..exact }, "cos and sin are rounded to"),
            (Tables { angles: true, cosines: true, ..exact }, "angles, cos and sin are rounded to"),
            (Tables { angles: true, ..exact }, "angles are rounded to"),
            (Tables { frequencies: true, ..exact }, "θ^(−2i/head_dim) is rounded to"),
            (
                Tables { frequencies: true, cosines: true, ..exact },
                "θ^(−2i/head_dim), cos and sin are rounded to",
            ),
            (made, "angles are made in"),
            (Tables { cosines: true, ..made }, "angles, cos and sin are made in"),
            (Tables { positions: true, ..exact }, "positions are rounded to"),
        ] {
            let tables = Some(tables);
            let says = format!("your {how} {}", dtype.as_str());
            let fix = "make angles, cos and sin in f32 at least; round, if at all, the rotated tensor";
            turned.push(Turned::new(Rope { tables, ..rope.clone() }, says, fix).rounding(dtype));
        }
    }
    Ok(turned)
}
