//! What a port does otherwise than Llama wherever it can: the mistakes that are tried where several
//! operations lie between what was recorded, and none of them is seen alone.

use candle_core::DType;

use crate::mistakes;
use crate::oracle::Pairing;
use crate::probe::Kind;
use crate::suspects::{Evidence, HalfSoftmax};

/// One thing done otherwise, in every operation that does it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Habit {
    /// Another ε in every norm.
    Eps(f64),
    /// ε is added to the root, and not inside.
    EpsOutside,
    /// This is added to the weight of every norm.
    Plus(f64),
    /// Another base of the angles.
    Theta(f64),
    /// Other elements of a head turn together.
    Pairs(Vec<(usize, usize)>),
    /// Every position is so much higher.
    Shift(f64),
    /// The key head that each query head looks at.
    LooksAt(Vec<usize>),
    /// Another scale of scores.
    Scale(f64),
    /// Every token sees the future too.
    Future,
    /// The softmax is summed in half precision.
    Softmax(HalfSoftmax),
    /// silu(up) · gate.
    Swapped,
    /// The weights of this kind of site, transposed or read so.
    Transposed(Kind),
}

/// A habit, and what to say of a port that has it.
pub(super) struct Tried {
    /// Its name in the catalogue.
    pub mistake: &'static str,
    pub habit: Habit,
    /// In the second person.
    pub says: String,
}

impl Habit {
    /// Is this kind of site computed otherwise?
    pub(super) fn changes(&self, kind: Kind) -> bool {
        match self {
            Self::Eps(_) | Self::EpsOutside | Self::Plus(_) => {
                matches!(kind, Kind::InputNorm | Kind::PostNorm | Kind::FinalNorm)
            }
            Self::Theta(_) | Self::Pairs(_) | Self::Shift(_) => matches!(kind, Kind::QRope | Kind::KRope),
            Self::LooksAt(_) => matches!(kind, Kind::Scores | Kind::Context),
            Self::Scale(_) | Self::Future => kind == Kind::Scores,
            Self::Softmax(_) => kind == Kind::Probs,
            Self::Swapped => kind == Kind::Act,
            Self::Transposed(other) => kind == *other,
        }
    }
}

impl Tried {
    /// What to do about it, as the catalogue has it.
    pub(super) fn fix(&self) -> String {
        mistakes::find(self.mistake).map_or_else(String::new, |mistake| mistake.fix.to_owned())
    }
}

/// All that is tried on a model. Numbers are those that are usual, and not solved for.
pub(super) fn all(e: &Evidence<'_>) -> Vec<Tried> {
    let config = e.config();
    let (n, kv, d) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
    let tried = |mistake, habit, says: String| Tried { mistake, habit, says };
    let mut all = Vec::new();
    let usual = [0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3];
    all.extend(usual.into_iter().filter(|&eps| eps != config.rms_norm_eps).map(|value| eps(e, value)));
    let says = "you add ε to the root; Llama adds it to the mean of squares, inside";
    all.push(tried("norm-eps", Habit::EpsOutside, says.into()));
    for (one, how) in [(1.0, "1 + w"), (-1.0, "w − 1")] {
        let says = format!("your norms multiply by {how}; these weights are to be used as they are");
        all.push(tried("norm-plus-one", Habit::Plus(one), says));
    }
    for theta in [1e4, 1e5, 5e5, 1e6].into_iter().filter(|&v| v != config.rope_theta) {
        let right = config.rope_theta;
        let says = format!("you used θ = {theta}; the config says {right} ({})", e.key("rope_theta"));
        all.push(tried("rope-theta", Habit::Theta(theta), says));
    }
    // Halves of rows that lie interleaved, said in the reference's order.
    let own = |a: usize| a / 2 + a % 2 * (d / 2);
    let halves = (0..d / 2).map(|i| (own(i), own(i + d / 2))).collect();
    let says =
        "you rotate neighbouring elements, 2i with 2i + 1; these weights want halves, i with i + head_dim/2";
    all.push(tried("rope-pairing", Habit::Pairs(Pairing::Neighbours.pairs(d)), says.into()));
    let says = "you rotate halves, i with i + head_dim/2, of rows that lie interleaved: they want neighbours";
    all.push(tried("rope-pairing", Habit::Pairs(halves), says.into()));
    for (shift, how) in [(1.0, "high"), (-1.0, "low")] {
        let says = format!("every position is 1 too {how}");
        all.push(tried("decode-position", Habit::Shift(shift), says));
    }
    if n.is_multiple_of(kv) {
        let grouped: Vec<usize> = (0..n).map(|h| h / (n / kv)).collect();
        let tiled = (0..n).map(|h| h % kv).collect();
        for map in [tiled, grouped.iter().map(|g| kv - 1 - g).collect(), vec![0; n]] {
            if map != grouped {
                let says = format!("your query heads look at key heads {map:?}; they should at {grouped:?}");
                all.push(tried("head-map", Habit::LooksAt(map), says));
            }
        }
    }
    let (d, hidden) = (d as f64, config.hidden_size as f64);
    for (scale, how) in [
        (1.0, "1: not at all"),
        (1.0 / d, "1/head_dim: twice, or without the root"),
        (1.0 / hidden.sqrt(), "1/√hidden_size"),
        (d.sqrt(), "√head_dim: you multiply where you should divide"),
        (1.0 / (hidden / n as f64).sqrt(), "1/√(hidden_size/heads)"),
    ] {
        if (scale * d.sqrt() - 1.0).abs() > 1e-9 {
            let says = format!("you scale scores by {how}; it is 1/√head_dim");
            all.push(tried("attention-scale", Habit::Scale(scale), says));
        }
    }
    let says = "you see the future: no causal mask";
    all.push(tried("mask-missing", Habit::Future, says.into()));
    for dtype in [DType::BF16, DType::F16] {
        let half = HalfSoftmax { dtype, terms: true };
        all.push(tried("softmax-half", Habit::Softmax(half), half.says()));
    }
    all.push(tried(
        "gate-up-swapped",
        Habit::Swapped,
        "you compute silu(up) · gate; it is silu(gate) · up".into(),
    ));
    for &kind in Kind::ALL.iter().filter(|kind| kind.is_product() && **kind != Kind::Logits) {
        let says = format!("you multiply with {} where its transpose is wanted", kind.name());
        all.push(tried("weight-transposed", Habit::Transposed(kind), says));
    }
    all
}

/// Another ε.
pub(super) fn eps(e: &Evidence<'_>, value: f64) -> Tried {
    let right = e.config().rms_norm_eps as f32;
    let says = format!("you used ε = {value:e}; the config says {right:e} ({})", e.key("rms_norm_eps"));
    Tried { mistake: "norm-eps", habit: Habit::Eps(value), says }
}
