//! The graph's types can describe families other than Llama. For each family: the nodes of a layer, their
//! order and their parameters.

mod families;

use families::olmo2;
use rbees_check::graph::{
    self, Cast, Edge, FrequencyLaw, Gain, Graph, Mask, Node, NormRule, NormSpan, Operation, Role, RowShape,
    SiteName,
};
use rbees_check::models;
use rstest::rstest;

const ATTENTION: [&str; 6] = ["q_rope", "k_rope", "scores", "probs", "context", "o_proj"];
const MLP: [&str; 5] = ["mlp.gate_proj", "mlp.up_proj", "mlp.act_fn", "mlp.act", "mlp.down_proj"];

/// The graph of a model in fixtures/.
fn of(model: &str) -> Graph {
    graph::of(models::open(model).unwrap().weights.config()).unwrap()
}

fn node<'a>(graph: &'a Graph, site: &str) -> &'a Node {
    let id = graph.position(&SiteName::new(site)).unwrap_or_else(|| panic!("no {site}"));
    graph.node(id).unwrap()
}

/// The sites that `site` is computed from.
fn inputs<'a>(graph: &'a Graph, site: &str) -> Vec<&'a str> {
    node(graph, site).inputs.iter().map(|input| graph.node(input.node).unwrap().site.as_str()).collect()
}

/// The sites of a layer in order, without their common prefix. The name of the layer's output is empty.
fn layer(graph: &Graph, layer: usize) -> Vec<String> {
    let path = format!("model.layers.{layer}");
    let own = graph.iter().filter(|(_, node)| node.layer == Some(layer));
    own.map(|(_, node)| node.site.as_str().strip_prefix(&path).unwrap().trim_start_matches('.').to_owned())
        .collect()
}

/// The expected sites of a layer: `before`, attention with `between` after its projections, `after`, the
/// MLP, `last`, and the layer's output.
fn sites(before: &[&str], between: &[&str], after: &[&str], last: &[&str]) -> Vec<String> {
    let attention = ["q_proj", "k_proj", "v_proj"].iter().chain(between).chain(&ATTENTION);
    let attention = attention.map(|name| format!("self_attn.{name}"));
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let parts = [owned(before), attention.collect(), owned(after), owned(&MLP), owned(last), owned(&[""])];
    parts.concat()
}

fn rule(graph: &Graph, site: &str) -> NormRule {
    match &node(graph, site).operation {
        Operation::Norm(norm) => norm.rule,
        other => panic!("{site} is {other:?}"),
    }
}

/// The scale, softcap and mask of a layer's scores.
fn scores(graph: &Graph, layer: usize) -> (f64, Option<f64>, Mask) {
    match &node(graph, &format!("model.layers.{layer}.self_attn.scores")).operation {
        Operation::Scores(scores) => (scores.scale, scores.softcap, scores.mask),
        other => panic!("{other:?}"),
    }
}

fn law(graph: &Graph, site: &str) -> FrequencyLaw {
    match &node(graph, site).operation {
        Operation::Rope(rope) => rope.law.clone(),
        other => panic!("{site} is {other:?}"),
    }
}

#[test]
fn gemma_2_has_norms_around_both_branches_softcaps_and_a_window_in_every_other_layer() {
    let graph = of("tiny-gemma2");
    let after = ["post_attention_layernorm", "pre_feedforward_layernorm.input", "pre_feedforward_layernorm"];
    let expected = sites(&["input_layernorm"], &[], &after, &["post_feedforward_layernorm"]);
    assert_eq!(layer(&graph, 0), expected);
    assert_eq!(graph.iter().len(), 1 + 3 * expected.len() + 3);

    let at = |name: &str| format!("model.layers.1.{name}");
    assert_eq!(inputs(&graph, &at("post_attention_layernorm")), [at("self_attn.o_proj")]);
    let residual = at("pre_feedforward_layernorm.input");
    assert_eq!(inputs(&graph, &residual), ["model.layers.0".to_owned(), at("post_attention_layernorm")]);
    assert_eq!(inputs(&graph, "model.layers.1"), [residual, at("post_feedforward_layernorm")]);

    let norms = graph.iter().filter(|(_, node)| matches!(node.operation, Operation::Norm(_)));
    let norms: Vec<&str> = norms.map(|(_, node)| node.site.as_str()).collect();
    assert_eq!(norms.len(), 4 * 3 + 1);
    for site in norms {
        assert_eq!(rule(&graph, site).gain, Gain::OnePlusWeight, "{site}");
        assert_eq!(node(&graph, site).casts(), [Cast::Result], "{site}");
    }

    let (window, scale) = (Mask::Window { window: 5 }, 1.0 / 12f64.sqrt());
    let all: Vec<_> = (0..3).map(|layer| scores(&graph, layer)).collect();
    assert_eq!(all.iter().map(|s| s.2).collect::<Vec<_>>(), [window, Mask::Causal, window]);
    assert!(all.iter().all(|s| (s.0 - scale).abs() < 1e-15 && s.1 == Some(4.0)), "{all:?}");

    let Operation::Embedding(embedding) = &node(&graph, "model.embed_tokens").operation else { panic!() };
    assert!((embedding.scale - 48f64.sqrt()).abs() < 1e-15);
    assert_eq!(node(&graph, "model.embed_tokens").casts(), [Cast::Factor, Cast::Result]);
    assert_eq!(node(&graph, "lm_head").weights(), ["model.embed_tokens.weight"]);
    assert_eq!(inputs(&graph, "lm_head.softcap"), ["lm_head"]);
    assert_eq!(node(&graph, "lm_head.softcap").operation, Operation::Softcap { cap: 14.0 });
    assert_eq!(graph.output(), graph.find(None, Role::Logits));
}

#[test]
fn gemma_3_has_per_head_norms_and_a_different_rotation_in_global_layers() {
    let graph = of("tiny-gemma3");
    let after = ["post_attention_layernorm", "pre_feedforward_layernorm.input", "pre_feedforward_layernorm"];
    let between = ["q_norm", "k_norm"];
    let expected = sites(&["input_layernorm"], &between, &after, &["post_feedforward_layernorm"]);
    assert_eq!(layer(&graph, 3), expected);

    let norm = rule(&graph, "model.layers.0.self_attn.k_norm");
    assert_eq!((norm.span, norm.gain), (NormSpan::Head { head_dim: 18 }, Gain::OnePlusWeight));
    assert_eq!(inputs(&graph, "model.layers.0.self_attn.k_rope"), ["model.layers.0.self_attn.k_norm"]);

    let local = (Mask::Window { window: 5 }, FrequencyLaw::Base { theta: 2e4 });
    let global = (Mask::Causal, FrequencyLaw::Linear { theta: 4e5, factor: 8.0 });
    for number in 0..4 {
        let expected = if number == 2 { &global } else { &local };
        let (_, softcap, mask) = scores(&graph, number);
        for rotated in ["q_rope", "k_rope"] {
            let law = law(&graph, &format!("model.layers.{number}.self_attn.{rotated}"));
            assert_eq!((mask, law), *expected, "layer {number}, {rotated}");
        }
        assert_eq!(softcap, None);
    }
    assert_eq!(graph.find(None, Role::Logits), None);
    assert_eq!(graph.output(), graph.find(None, Role::Head));
}

#[test]
fn qwen_3_has_per_head_norms_of_q_and_k_before_the_rotation() {
    let graph = of("tiny-qwen3");
    let after = ["post_attention_layernorm.input", "post_attention_layernorm"];
    assert_eq!(layer(&graph, 1), sites(&["input_layernorm"], &["q_norm", "k_norm"], &after, &[]));
    for (name, heads) in [("q", 6), ("k", 2)] {
        let at = |part: &str| format!("model.layers.1.self_attn.{name}_{part}");
        assert_eq!(rule(&graph, &at("norm")).span, NormSpan::Head { head_dim: 20 });
        assert_eq!(rule(&graph, &at("norm")).gain, Gain::Weight);
        assert_eq!(node(&graph, &at("norm")).weights(), [format!("{}.weight", at("norm"))]);
        assert_eq!(node(&graph, &at("norm")).casts(), [Cast::Normed, Cast::Result]);
        assert_eq!(inputs(&graph, &at("norm")), [at("proj")]);
        assert_eq!(inputs(&graph, &at("rope")), [at("norm")]);
        assert_eq!(node(&graph, &at("rope")).shape, RowShape::Heads { heads, head_dim: 20 });
    }
    assert_eq!(inputs(&graph, "model.layers.1.self_attn.q_proj"), ["model.layers.1.input_layernorm"]);
}

#[test]
fn olmo_2_has_norms_after_its_branches_and_on_whole_rows_of_q_and_k() {
    let graph = olmo2::graph(&olmo2::SMALL).unwrap();
    let after = ["post_attention_layernorm", "mlp.input"];
    assert_eq!(layer(&graph, 0), sites(&[], &["q_norm", "k_norm"], &after, &["post_feedforward_layernorm"]));
    for role in [Role::AttnPreNorm, Role::FfnPreNorm] {
        assert_eq!(graph.find(Some(0), role), None);
    }
    let at = |name: &str| format!("model.layers.1.{name}");
    for projection in ["q_proj", "k_proj", "v_proj"] {
        assert_eq!(inputs(&graph, &at(&format!("self_attn.{projection}"))), ["model.layers.0"]);
    }
    assert_eq!(inputs(&graph, &at("post_attention_layernorm")), [at("self_attn.o_proj")]);
    assert_eq!(inputs(&graph, &at("mlp.gate_proj")), [at("mlp.input")]);
    assert_eq!(rule(&graph, &at("self_attn.q_norm")).span, NormSpan::Row);
    assert_eq!(node(&graph, &at("self_attn.q_norm")).shape, RowShape::Flat { width: 72 });
    assert_eq!(node(&graph, &at("self_attn.q_norm")).casts(), [Cast::Result]);
    assert_eq!(node(&graph, &at("self_attn.q_rope")).casts(), [Cast::Result]);
}

/// A role and the name of its module in Gemma 2, Qwen 3 and OLMo 2.
#[rstest]
#[case(Role::AttnPostNorm, [Some("post_attention_layernorm"), None, Some("post_attention_layernorm")])]
#[case(Role::FfnPreNorm, [Some("pre_feedforward_layernorm"), Some("post_attention_layernorm"), None])]
#[case(Role::QNorm, [None, Some("self_attn.q_norm"), Some("self_attn.q_norm")])]
#[case(
    Role::AttnResidual,
    [Some("pre_feedforward_layernorm.input"), Some("post_attention_layernorm.input"), Some("mlp.input")]
)]
fn a_role_finds_the_module_under_each_familys_name(#[case] role: Role, #[case] names: [Option<&str>; 3]) {
    let graphs = [of("tiny-gemma2"), of("tiny-qwen3"), olmo2::graph(&olmo2::SMALL).unwrap()];
    for (graph, name) in graphs.into_iter().zip(names) {
        let site = graph.find(Some(1), role).map(|id| graph.node(id).unwrap().site.clone());
        assert_eq!(site, name.map(|name| SiteName::new(format!("model.layers.1.{name}"))));
    }
}

#[test]
fn only_scores_and_context_read_rows_of_other_tokens() {
    for graph in [of("tiny-gemma3"), olmo2::graph(&olmo2::SMALL).unwrap()] {
        for (id, node) in graph.iter() {
            let all_keys = node.inputs.iter().filter(|input| input.edge == Edge::AllKeys).count();
            let attention = matches!(node.operation, Operation::Scores(_) | Operation::Context(_));
            assert_eq!(all_keys, usize::from(attention), "{}", node.site);
            assert!(node.inputs.iter().all(|input| input.node < id), "{}", node.site);
        }
    }
}
