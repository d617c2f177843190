//! Lists the deviations that are tried when several unrecorded operations precede a site: the ones that ports
//! make, with their usual numbers. Numbers are only solved for when an operation's own inputs and output are
//! known.

use candle_core::DType;

use super::Evidence;
use super::attention::{usual_scales, wrong_maps};
use super::decide::Suspected;
use super::deviation::{Deviation, LowSoftmax, MatrixReading, NormWeight, Positions, Sees, described};
use super::ffn::says_exchanged;
use super::rope::other_pairing;
use crate::graph::{EpsPlace, FrequencyLaw, Node, Operation, Role};
use crate::probe::Layout;

/// A deviation that a port may have at every node that it applies to.
pub(super) struct Usual {
    /// Its name in the catalogue.
    pub mistake: &'static str,
    /// What the port computes differently.
    pub deviations: Vec<Deviation>,
    /// If given, the deviation applies to nodes of this role only.
    pub role: Option<Role>,
    /// What the port does and what it should do, in the second person.
    pub says: String,
}

impl Usual {
    fn new(mistake: &'static str, deviation: Deviation, says: impl Into<String>) -> Self {
        Self { mistake, deviations: vec![deviation], role: None, says: says.into() }
    }

    /// The mistake, with the nodes of this cut that it changes.
    pub fn suspected(self, e: &Evidence<'_>) -> Suspected {
        let part = described(e.nodes().filter(|node| self.changes(node)), &self.deviations);
        Suspected { mistake: self.mistake, says: self.says, part }
    }

    /// Whether the deviation changes how this node is computed.
    pub fn changes(&self, node: &Node) -> bool {
        self.role.is_none_or(|role| role == node.role)
            && self.deviations.iter().any(|deviation| deviation.concerns(&node.operation))
    }
}

/// The values of ε in configs and ports.
const EPS: [f64; 8] = [0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3];

/// Another ε in every norm.
pub(super) fn eps(e: &Evidence<'_>, eps: f64) -> Usual {
    let right = e.config().rms_norm_eps as f32;
    let says = format!("you used ε = {eps:e}; the config says {right:e} ({})", e.key("rms_norm_eps"));
    Usual::new("norm-eps", Deviation::Eps { eps, place: EpsPlace::InsideRoot }, says)
}

/// All deviations that are tried.
pub(super) fn all(e: &Evidence<'_>) -> Vec<Usual> {
    let mut all = norms(e);
    all.extend(rotations(e));
    all.extend(attentions(e));
    all.push(Usual::new("gate-up-swapped", Deviation::GateExchanged, says_exchanged(e)));
    all.extend(e.nodes().filter_map(transposed));
    all
}

fn norms(e: &Evidence<'_>) -> Vec<Usual> {
    let own = e.config().rms_norm_eps;
    let mut all: Vec<Usual> =
        EPS.into_iter().filter(|&other| other != own).map(|other| eps(e, other)).collect();
    let says = "you add ε outside the root; add it to the mean of squares, inside the root";
    all.push(Usual::new("norm-eps", Deviation::Eps { eps: own, place: EpsPlace::OutsideRoot }, says));
    for (more, says) in e.plus_one() {
        all.push(Usual::new("norm-plus-one", Deviation::NormWeight(NormWeight::Plus(more)), says));
    }
    all
}

fn rotations(e: &Evidence<'_>) -> Vec<Usual> {
    let d = e.config().head_dim;
    let law = |node: &Node| match &node.operation {
        Operation::Rope(rope) => Some(rope.law.clone()),
        _ => None,
    };
    let Some(law) = e.nodes().find_map(law) else { return vec![] };
    let own = law.theta();
    let mut all = Vec::new();
    if !matches!(law, FrequencyLaw::Base { .. }) {
        let says = format!("you ignore the config's rope scaling ({})", e.key("rope_scaling"));
        let unscaled = FrequencyLaw::Base { theta: own };
        all.push(Usual::new("rope-scaling", Deviation::Frequencies(unscaled), says));
    }
    for theta in [1e4, 1e5, 5e5, 1e6].into_iter().filter(|&theta| theta != own) {
        let says = format!("you used θ = {theta}; the config says {own} ({})", e.theta_key());
        all.push(Usual::new("rope-theta", Deviation::Frequencies(law.with_theta(theta)), says));
    }
    for (layout, says) in [
        (
            Layout::Reference,
            "you rotate neighbouring elements, 2i with 2i + 1; these weights need halves, i with i + head_dim/2",
        ),
        (
            Layout::Interleaved { head_dim: d },
            "you rotate halves, i with i + head_dim/2; these rows are interleaved and need neighbours, 2i with 2i + 1",
        ),
    ] {
        if let Some(pairs) = other_pairing(&layout, d) {
            all.push(Usual::new("rope-pairing", Deviation::Pairs(pairs), says));
        }
    }
    let turns = |role: Role| e.nodes().any(|node| node.role == role);
    let turned = match (turns(Role::QRope), turns(Role::KRope)) {
        (true, false) => "queries ",
        (false, true) => "keys ",
        _ => "",
    };
    for (shift, how) in [(1, "high"), (-1, "low")] {
        let says = format!("you rotate {turned}by positions that are 1 too {how}");
        all.push(Usual::new("decode-position", Deviation::Positions(Positions::Shifted(shift)), says));
    }
    all
}

fn attentions(e: &Evidence<'_>) -> Vec<Usual> {
    let config = e.config();
    let (n, kv) = (config.num_attention_heads, config.num_key_value_heads);
    let mut all = Vec::new();
    for map in wrong_maps(n, kv) {
        let right: Vec<usize> = (0..n).map(|h| h / (n / kv)).collect();
        let says = format!("your query heads use key heads {:?}; they should use {right:?}", &*map);
        all.push(Usual::new("head-map", Deviation::LooksAt(map), says));
    }
    for (scale, how) in usual_scales(config) {
        if (scale / config.attention_scale() - 1.0).abs() > 1e-9 {
            let right =
                config.query_pre_attn_scalar.map_or("head_dim".to_owned(), |scalar| scalar.to_string());
            let says = format!("you scale scores by {how}; the scale should be 1/√{right}");
            all.push(Usual::new("attention-scale", Deviation::ScoreScale(scale), says));
        }
    }
    let says = "you apply no causal mask: queries see future tokens";
    all.push(Usual::new("mask-missing", Deviation::Sees(Sees::All { pads: false }), says));
    for dtype in [DType::BF16, DType::F16] {
        let soft = LowSoftmax { dtype, terms: true };
        all.push(Usual::new("softmax-half", Deviation::LowSoftmax(soft), soft.says()));
    }
    all
}

/// The matrix of this node, transposed. The head is left out: its matrix is not square in any model.
fn transposed(node: &Node) -> Option<Usual> {
    let deviation = Deviation::Matrix(MatrixReading::Transposed { order: None });
    if node.role == Role::Head || !deviation.concerns(&node.operation) {
        return None;
    }
    let path = node.site.as_str();
    let in_layer = node.layer.map(|layer| format!("model.layers.{layer}."));
    let module = in_layer.and_then(|layer| path.strip_prefix(&*layer)).unwrap_or(path);
    let says = format!("you multiply by the weight of {module} where you need its transpose");
    Some(Usual { role: Some(node.role), ..Usual::new("weight-transposed", deviation, says) })
}
