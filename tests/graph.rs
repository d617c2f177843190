//! The graph: its order, its roles and its cuts. Nodes that do not fit together are refused.

use std::collections::BTreeSet;

use rbees_check::graph::{
    self, Activation, Builder, Graph, HeadMap, Linear, Mask, MatrixRows, NodeId, NormRule, Role, Rope,
    RowShape, Scores, SiteName,
};
use rbees_check::graph::{FrequencyLaw, Pairing, RopeCast};
use rbees_check::models;
use rbees_check::probe::{Kinds, Site};
use rbees_check::weights::Config;
use rstest::rstest;

fn config(model: &str) -> Config {
    models::open(model).unwrap().weights.config().clone()
}

const MODELS: [&str; 9] = [
    "tiny-llama",
    "tiny-llama2",
    "tiny-llama3",
    "tiny-linear",
    "tiny-qwen2",
    "tiny-mistral",
    "tiny-qwen3",
    "tiny-gemma2",
    "tiny-gemma3",
];

fn ids(graph: &Graph, sites: &[&str]) -> BTreeSet<NodeId> {
    sites.iter().map(|site| graph.position(&SiteName::new(site)).unwrap()).collect()
}

fn names<'a>(graph: &'a Graph, ids: impl IntoIterator<Item = &'a NodeId>) -> Vec<&'a str> {
    ids.into_iter().map(|&id| graph.node(id).unwrap().site.as_str()).collect()
}

#[rstest]
#[case("tiny-llama", 4, "model.embed_tokens.weight")]
#[case("tiny-llama2", 3, "lm_head.weight")]
fn the_llama_graph_contains_every_probed_site_in_forward_order(
    #[case] model: &str,
    #[case] layers: usize,
    #[case] head: &str,
) {
    let graph = graph::llama(&config(model)).unwrap();
    let inside = |layer| Kinds::LLAMA.iter().filter(|k| k.in_layer()).map(move |k| Site::layer(layer, k));
    let outside = Kinds::LLAMA.iter().filter(|k| !k.in_layer()).map(Site::model);
    let mut sites: Vec<Site> = outside.chain((0..layers).flat_map(inside)).collect();
    sites.sort();
    let positions: Vec<NodeId> =
        sites.iter().map(|&site| graph.position(&SiteName::from(site)).unwrap()).collect();
    assert!(positions.is_sorted() && positions.len() == 3 + layers * 17);
    // Each layer has one more node than sites: for probes, the activation is part of `mlp.act`.
    assert_eq!(graph.iter().len(), positions.len() + layers);
    let output = graph.output().unwrap();
    assert_eq!(graph.node(output).unwrap().weights(), [head]);
    assert_eq!(graph.find(None, Role::Head), Some(output));
}

#[test]
fn the_graph_reads_exactly_the_weights_that_the_configuration_requires() {
    for model in MODELS {
        let config = config(model);
        let graph = graph::of(&config).unwrap();
        let read: BTreeSet<String> =
            graph.iter().flat_map(|(_, node)| node.weights()).map(str::to_owned).collect();
        let demanded: BTreeSet<String> = config.tensors().into_iter().map(|(name, _)| name).collect();
        assert_eq!(read, demanded);
    }
}

/// What is known about a model without its config, the kinds of its sites, gives the same inputs as its graph.
#[test]
fn the_kinds_of_sites_give_the_edges_of_the_graph() {
    for model in MODELS {
        let config = config(model);
        let (graph, layers) = (graph::of(&config).unwrap(), config.num_hidden_layers);
        for (id, node) in graph.iter() {
            let Some(site) = node.site.probed() else { continue };
            let mut inputs = BTreeSet::new();
            let mut open = vec![id];
            // Nodes that are no sites belong to the operation after them.
            while let Some(id) = open.pop() {
                for input in &graph.node(id).unwrap().inputs {
                    match graph.node(input.node).unwrap().site.probed() {
                        Some(site) => drop(inputs.insert(site)),
                        None => open.push(input.node),
                    }
                }
            }
            let known: BTreeSet<Site> = site.inputs(layers, graph.kinds()).into_iter().collect();
            assert_eq!(known, inputs, "{model}, {site}");
        }
    }
}

#[test]
fn a_cut_computes_the_wanted_nodes_from_the_given_nodes() {
    let graph = graph::llama(&config("tiny-llama")).unwrap();
    let wanted = ids(&graph, &["model.layers.1.mlp.act"]);
    let given = ids(&graph, &["model.layers.1.mlp.gate_proj", "model.layers.1.post_attention_layernorm"]);
    let cut = graph.cut(&wanted, &given);
    let computed = ["model.layers.1.mlp.up_proj", "model.layers.1.mlp.act_fn", "model.layers.1.mlp.act"];
    assert_eq!(names(&graph, &cut.compute), computed);
    let read = ["model.layers.1.post_attention_layernorm", "model.layers.1.mlp.gate_proj"];
    assert_eq!(names(&graph, &cut.read), read);
}

#[test]
fn a_cut_computes_a_wanted_node_even_if_it_is_given() {
    let graph = graph::llama(&config("tiny-llama")).unwrap();
    let all: BTreeSet<NodeId> = graph.ids().collect();
    let cut = graph.cut(&all, &all);
    assert_eq!(cut.compute, graph.ids().collect::<Vec<_>>());
    assert_eq!(cut.read.len(), all.len() - 1); // no node reads the logits
}

#[test]
fn a_cut_without_given_nodes_starts_at_the_embedding() {
    let graph = graph::llama(&config("tiny-llama")).unwrap();
    let cut = graph.cut(&graph.output().into_iter().collect(), &BTreeSet::new());
    assert_eq!(cut.compute, graph.ids().collect::<Vec<_>>());
    assert!(cut.read.is_empty());
}

/// As in Phi-3 and Granite: rows of a fused matrix, a partial rotation of each head, residuals with factors.
#[test]
fn fused_matrices_partial_rotations_and_multipliers_can_be_described() {
    let mut g = Builder::default();
    let table = g.embedding(Role::Embed, "embed", 12, 1.0); // [12]
    let x = g.scale(Role::EmbedScaled, "scaled", table, 3.0); // [12]
    let rows = |rows| Linear { rows: Some(MatrixRows::Range(rows)), ..Linear::whole("qkv.weight") };
    let q = g.linear_of(Role::QProj, "q", x, 16, rows(0..16)); // [2 * 8]
    let k = g.linear_of(Role::KProj, "k", x, 8, rows(16..24)); // [8]
    let rope = Rope {
        law: FrequencyLaw::Divided { theta: 1e4, divisors: vec![1.0, 2.0] },
        pairing: Pairing::Neighbours,
        head_dim: 8,
        turned: 4,
        magnitude: 1.2,
        cast: RopeCast::EveryStep,
    };
    g.rope(Role::QRope, "q_rope", q, rope.clone()); // [2, 8]
    g.rope(Role::KRope, "k_rope", k, rope); // [1, 8]
    g.weighted_sum(Role::Block, "block", &[(1.0, x), (0.22, table)]); // [12]
    let graph = g.finish().unwrap();
    let shape = |site: &str| graph.node(graph.position(&SiteName::new(site)).unwrap()).unwrap().shape;
    assert_eq!(shape("q_rope"), RowShape::Heads { heads: 2, head_dim: 8 });
    assert_eq!(shape("k_rope"), RowShape::Heads { heads: 1, head_dim: 8 });
    assert_eq!(shape("block"), RowShape::Flat { width: 12 });
}

fn rope(head_dim: usize) -> Rope {
    Rope::whole(FrequencyLaw::Base { theta: 1e4 }, head_dim)
}

fn scores(heads: HeadMap, head_dim: usize) -> Scores {
    Scores { heads, head_dim, scale: 1.0, softcap: None, mask: Mask::Causal }
}

#[rstest]
#[case::width_0(|_: &mut Builder, _| {}, "x: its size is 0", 0)]
#[case::duplicate_site(|g: &mut Builder, x| { g.scale(Role::Head, "x", x, 1.0); }, "x: two nodes have this site", 12)]
#[case::duplicate_role(|g: &mut Builder, x| { g.scale(Role::Embed, "y", x, 1.0); }, "y: another node of its layer also has the role embed", 12)]
#[case::different_widths(|g: &mut Builder, x| { let y = g.linear(Role::Up, "up", x, 5); g.sum(Role::Block, "sum", x, y); }, "sum: a weighted sum of [Flat { width: 12 }, Flat { width: 5 }] cannot give", 12)]
#[case::sum_without_terms(|g: &mut Builder, _| { g.weighted_sum(Role::Block, "sum", &[]); }, "sum: a weighted sum cannot have the inputs", 12)]
#[case::width_not_a_multiple_of_the_head(|g: &mut Builder, x| { g.norm(Role::QNorm, "norm", x, NormRule::rms(1e-5).per_head(5)); }, "norm: ", 12)]
#[case::odd_rotation(|g: &mut Builder, x| { g.rope(Role::QRope, "rope", x, rope(3)); }, "rope: ", 12)]
#[case::head_map_out_of_range(|g: &mut Builder, x| { g.scores(Role::Scores, "s", x, x, scores(HeadMap::new(vec![0, 2]), 6)); }, "s: ", 12)]
#[case::no_key_heads(|g: &mut Builder, x| { g.scores(Role::Scores, "s", x, x, scores(HeadMap::grouped(2, 0), 6)); }, "s: its size is 0", 12)]
#[case::softmax_of_flat_rows(|g: &mut Builder, x| { g.softmax(Role::Probs, "p", x); }, "p: ", 12)]
fn an_inconsistent_node_is_refused_by_name(
    #[case] add: fn(&mut Builder, NodeId),
    #[case] problem: &str,
    #[case] hidden: usize,
) {
    let mut g = Builder::default();
    let x = g.embedding(Role::Embed, "x", hidden, 1.0);
    add(&mut g, x);
    let error = g.finish().unwrap_err().to_string();
    assert!(error.starts_with(problem), "{error}");
}

#[test]
fn a_node_from_another_builder_is_refused() {
    let mut other = Builder::default();
    let x = other.embedding(Role::Embed, "x", 12, 1.0);
    let y = other.activation(Role::Activation, "y", x, Activation::Silu);
    let mut g = Builder::default();
    g.scale(Role::Logits, "z", y, 1.0);
    assert!(g.finish().unwrap_err().to_string().starts_with("z: an input does not come before it"));
}

#[test]
fn an_inconsistent_configuration_is_refused() {
    let config = config("tiny-llama");
    for wrong in [
        Config { num_key_value_heads: 0, ..config.clone() },
        Config { num_key_value_heads: 4, ..config.clone() },
        Config { head_dim: 0, ..config.clone() },
        Config { hidden_size: 0, ..config.clone() },
    ] {
        assert!(graph::llama(&wrong).is_err(), "{wrong:?}");
    }
}
