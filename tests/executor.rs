//! The executor on cuts of a graph in exact arithmetic: streamed attention, cached keys, unknown rows,
//! refused inputs.

use std::collections::{BTreeMap, BTreeSet};

use rbees_check::Result;
use rbees_check::graph::{self, Graph, Mask, NodeId, Operation, Role, SiteName};
use rbees_check::models;
use rbees_check::oracle::{Exact, Executor, Given, Pass, Place, Placed, Rows, Slot, Token};
use rbees_check::weights::Weights;
use rstest::rstest;

struct Model {
    weights: Weights,
    graph: Graph,
}

fn tiny() -> Model {
    let weights = models::open("tiny-llama").unwrap().weights;
    let graph = graph::llama(weights.config()).unwrap();
    Model { weights, graph }
}

impl Model {
    fn at(&self, site: &str) -> NodeId {
        self.graph.position(&SiteName::new(site)).unwrap()
    }

    fn one(&self, pass: &Pass, wanted: NodeId, given: &Given) -> Result<Placed> {
        Executor::new(&self.graph, &self.weights, pass, Exact).one(wanted, given)
    }

    fn all(&self, pass: &Pass, wanted: &BTreeSet<NodeId>) -> BTreeMap<NodeId, Placed> {
        let mut found = BTreeMap::new();
        let executor = Executor::new(&self.graph, &self.weights, pass, Exact);
        let mut see = |id, placed: &Placed| {
            found.insert(id, placed.clone());
            Ok(())
        };
        executor.compute(wanted, &Given::default(), &mut see).unwrap();
        found
    }
}

/// Token `i` of an arbitrary text.
fn token(i: usize) -> Token {
    Token { id: (i * 37 % 512) as u32, position: i }
}

/// A pass with one batch row of `length` real tokens.
fn pass(length: usize) -> Pass {
    Pass::new(vec![(0..length).map(|i| Slot::Real(token(i))).collect()]).unwrap()
}

fn placed(width: usize, places: &[Place]) -> Placed {
    let rows = Rows::from_fn(places.len(), width, |r, j| ((r * 7 + j * 3) % 11) as f64 - 5.0);
    Placed::new(rows, places.to_vec()).unwrap()
}

/// The largest difference, as a share of the largest entry.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert!(a.len() == b.len() && !a.is_empty());
    let scale = b.iter().fold(0f64, |most, b| most.max(b.abs()));
    a.iter().zip(b).fold(0f64, |most, (a, b)| most.max((a - b).abs())) / scale
}

#[test]
fn streamed_attention_equals_attention_through_the_full_scores() {
    let (model, pass) = (tiny(), pass(600)); // three blocks of queries
    let contexts: BTreeSet<NodeId> =
        (0..2).map(|n| model.graph.find(Some(n), Role::Context).unwrap()).collect();
    let streamed = model.all(&pass, &contexts);
    let whole = model.all(&pass, &model.graph.ids().collect());
    assert_eq!(whole.len(), model.graph.iter().len());
    assert_eq!(streamed.len(), 2);
    for (id, rows) in &streamed {
        assert_eq!(rows, &whole[id]);
    }
}

#[test]
fn a_decode_step_with_cached_keys_and_values_equals_the_full_pass() {
    let (model, length) = (tiny(), 20);
    let logits = model.at("lm_head");
    let cached = |node: &graph::Node| matches!(node.role, Role::KRope | Role::VProj);
    let cache: BTreeSet<NodeId> =
        model.graph.iter().filter(|(_, node)| cached(node)).map(|(id, _)| id).collect();
    let whole = model.all(&pass(length), &cache.iter().copied().chain([logits]).collect());

    let earlier: Vec<Place> = (0..length - 1).map(|slot| (0, slot)).collect();
    let rows = |placed: &Placed| {
        let values = earlier.iter().flat_map(|&place| placed.at(place).unwrap().to_vec()).collect();
        Placed::new(Rows::new(placed.rows().width, values), earlier.clone()).unwrap()
    };
    let given =
        Given { cached: cache.iter().map(|&id| (id, rows(&whole[&id]))).collect(), ..Given::default() };
    let mut slots = vec![Slot::Cached; length - 1];
    slots.push(Slot::Real(token(length - 1)));
    let step = Pass::new(vec![slots]).unwrap();
    let one = model.one(&step, logits, &given).unwrap();
    assert_eq!(one.places(), [(0, length - 1)]);
    assert!(apart(one.rows().row(0), whole[&logits].at((0, length - 1)).unwrap()) < 1e-12);

    // Without the cache, the keys that the token attends to are unknown.
    let error = model.one(&step, logits, &Given::default()).unwrap_err();
    assert!(
        error.to_string().contains("model.layers.0.self_attn.context: no row can be computed"),
        "{error}"
    );
}

#[test]
fn padding_does_not_change_the_rows_of_real_tokens() {
    let model = tiny();
    let alone = model.one(&pass(5), model.at("lm_head"), &Given::default()).unwrap();
    for unknown in [Slot::Unknown, Slot::Padding(token(9))] {
        let text = (0..5).map(|i| Slot::Real(token(i)));
        let left: Vec<Slot> = [unknown; 3].into_iter().chain(text.clone()).collect();
        let right: Vec<Slot> = text.chain([unknown; 3]).collect();
        let batch = model.one(&Pass::new(vec![left, right]).unwrap(), model.at("lm_head"), &Given::default());
        let batch = batch.unwrap();
        assert_eq!(batch.places().len(), if unknown == Slot::Unknown { 10 } else { 16 });
        for i in 0..5 {
            for place in [(0, 3 + i), (1, i)] {
                assert!(apart(batch.at(place).unwrap(), alone.at((0, i)).unwrap()) < 1e-12);
            }
        }
    }
}

#[test]
fn a_scores_row_is_computed_only_if_all_keys_it_attends_to_are_known() {
    let (model, pass) = (tiny(), pass(4));
    let (q, k) = (model.at("model.layers.0.self_attn.q_rope"), model.at("model.layers.0.self_attn.k_rope"));
    let scores = model.at("model.layers.0.self_attn.scores");
    let given = |keys: &[Place]| Given {
        values: [(q, placed(192, &[(0, 0), (0, 1), (0, 3)])), (k, placed(64, keys))].into(),
        ..Given::default()
    };
    let known = model.one(&pass, scores, &given(&[(0, 0), (0, 1), (0, 3)])).unwrap();
    assert_eq!(known.places(), [(0, 0), (0, 1)]); // the query in slot 3 attends to the unknown key in slot 2
    assert_eq!(known.at((0, 0)).unwrap()[1..4], [f64::NEG_INFINITY; 3]);
    let error = model.one(&pass, scores, &given(&[(0, 1), (0, 3)])).unwrap_err();
    assert!(error.to_string().contains("self_attn.scores: no row can be computed"), "{error}");
}

#[test]
fn a_sum_is_computed_only_for_rows_known_in_both_inputs() {
    let (model, pass) = (tiny(), pass(4));
    let (x, o) = (model.at("model.embed_tokens"), model.at("model.layers.0.self_attn.o_proj"));
    let (a, b) = (placed(128, &[(0, 1), (0, 2)]), placed(128, &[(0, 2), (0, 3)]));
    let given = Given { values: [(x, a.clone()), (o, b.clone())].into(), ..Given::default() };
    let sum = model.one(&pass, model.at("model.layers.0.post_attention_layernorm.input"), &given).unwrap();
    assert_eq!(sum.places(), [(0, 2)]);
    let expected: Vec<f64> = a.rows().row(1).iter().zip(b.rows().row(0)).map(|(a, b)| a + b).collect();
    assert_eq!(sum.rows().row(0), expected);
}

#[rstest]
#[case::wrong_width("model.embed_tokens", placed(64, &[(0, 0)]), "model.embed_tokens: rows have 64 entries, expected 128")]
#[case::slot_out_of_range("model.embed_tokens", placed(128, &[(0, 4)]), "model.embed_tokens: the pass has no row at (0, 4)")]
#[case::batch_row_out_of_range("model.embed_tokens", placed(128, &[(1, 0)]), "model.embed_tokens: the pass has no row at (1, 0)")]
#[case::wrong_number_of_keys("model.layers.0.self_attn.scores", placed(30, &[(0, 0)]), "model.layers.0.self_attn.scores: rows have 30 entries, expected 24")]
fn given_rows_of_the_wrong_width_or_place_are_refused(
    #[case] site: &str,
    #[case] rows: Placed,
    #[case] problem: &str,
) {
    let model = tiny();
    let given = Given { values: [(model.at(site), rows.clone())].into(), ..Given::default() };
    assert_eq!(model.one(&pass(4), model.at("lm_head"), &given).unwrap_err().to_string(), problem);
    // This pass has no cached slots, so rows given for the cache are refused too.
    let given = Given { cached: [(model.at(site), rows)].into(), ..Given::default() };
    assert!(model.one(&pass(4), model.at("lm_head"), &given).is_err());
}

#[test]
fn rows_without_distinct_places_and_ragged_batches_are_refused() {
    let rows = || Rows::from_fn(2, 3, |_, _| 0.0);
    assert!(Placed::new(rows(), vec![(0, 0), (0, 1)]).is_ok());
    assert!(Placed::new(rows(), vec![(0, 0)]).is_err());
    assert!(Placed::new(rows(), vec![(0, 1), (0, 1)]).is_err());
    assert!(Placed::new(Rows { width: 0, values: vec![] }, vec![]).is_err());
    assert!(Pass::new(vec![]).is_err());
    assert!(Pass::new(vec![vec![Slot::Cached], vec![]]).is_err());
}

#[test]
fn an_invalid_token_or_weight_shape_is_an_error_that_names_it() {
    let mut model = tiny();
    let stray = Pass::new(vec![vec![Slot::Real(Token { id: 512, position: 0 })]]).unwrap();
    let error = model.one(&stray, model.at("lm_head"), &Given::default()).unwrap_err();
    assert_eq!(error.to_string(), "model.embed_tokens: token 512 is outside the vocabulary of 512");
    let narrow = candle_core::Tensor::zeros(5, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    model.weights.replace("model.norm.weight", narrow);
    let error = model.one(&pass(2), model.at("lm_head"), &Given::default()).unwrap_err();
    assert_eq!(error.to_string(), "tensor `model.norm.weight` is [5], not [128]");
}

#[test]
fn a_sliding_window_masks_keys_before_the_window() {
    let mut nodes: Vec<graph::Node> = tiny().graph.iter().map(|(_, node)| node.clone()).collect();
    for node in &mut nodes {
        if let Operation::Scores(scores) = &mut node.operation {
            scores.mask = Mask::Window { window: 2 };
        }
    }
    let model = Model { graph: Graph::new(nodes).unwrap(), ..tiny() };
    let scores = model.one(&pass(4), model.at("model.layers.0.self_attn.scores"), &Given::default()).unwrap();
    let barred = |query| -> Vec<bool> {
        scores.at((0, query)).unwrap()[..4].iter().map(|&x| x == f64::NEG_INFINITY).collect()
    };
    assert_eq!(barred(3), [true, true, false, false]);
    assert_eq!(barred(0), [false, true, true, true]);
}

#[test]
fn requested_rows_equal_the_same_rows_of_the_full_result() {
    let (model, pass) = (tiny(), pass(600)); // three blocks of queries
    let executor = Executor::new(&model.graph, &model.weights, &pass, Exact);
    let places = [(0, 3), (0, 300), (0, 599)];
    for site in ["model.embed_tokens", "model.layers.1.self_attn.context", "lm_head"] {
        let wanted = model.at(site);
        let whole = executor.one(wanted, &Given::default()).unwrap();
        let some = executor.rows(wanted, &places, &Given::default()).unwrap().unwrap();
        assert_eq!(some.places(), places);
        for place in places {
            assert!(apart(some.at(place).unwrap(), whole.at(place).unwrap()) < 1e-12, "{site} at {place:?}");
        }
    }
}

#[test]
fn requested_rows_with_unknown_inputs_are_left_out() {
    let (model, pass) = (tiny(), pass(4));
    let executor = Executor::new(&model.graph, &model.weights, &pass, Exact);
    let (x, norm) = (model.at("model.embed_tokens"), model.at("model.layers.0.input_layernorm"));
    let given = Given { values: [(x, placed(128, &[(0, 1), (0, 2)]))].into(), ..Given::default() };
    let some = executor.rows(norm, &[(0, 0), (0, 1)], &given).unwrap().unwrap();
    assert_eq!(some.places(), [(0, 1)]);
    assert!(executor.rows(norm, &[(0, 0), (0, 3)], &given).unwrap().is_none());
}

#[test]
fn operations_without_weights_are_computed_without_a_weight_file() {
    let (model, pass) = (tiny(), pass(4));
    let executor = Executor::new(&model.graph, None, &pass, Exact);
    let (x, o) = (model.at("model.embed_tokens"), model.at("model.layers.0.self_attn.o_proj"));
    let all = pass.places();
    let given = Given { values: [(x, placed(128, &all)), (o, placed(128, &all))].into(), ..Given::default() };
    let sum = executor.one(model.at("model.layers.0.post_attention_layernorm.input"), &given).unwrap();
    assert_eq!(sum.rows().row(0)[3], 2.0 * given.values[&x].rows().row(0)[3]);
    let error = executor.one(model.at("model.layers.0.input_layernorm"), &given).unwrap_err();
    assert!(
        error.to_string().contains("tensor `model.layers.0.input_layernorm.weight` is missing"),
        "{error}"
    );
}

#[test]
fn a_source_node_without_given_rows_is_an_error() {
    let model = tiny();
    let mut g = graph::Builder::default();
    let shape = graph::RowShape::Flat { width: 8 };
    let (a, b) = (g.source(Role::OProj, "a", shape), g.source(Role::Down, "b", shape));
    let sum = g.sum(Role::Block, "sum", a, b);
    let (graph, pass) = (g.finish().unwrap(), pass(3));
    let executor = Executor::new(&graph, &model.weights, &pass, Exact);
    let rows = placed(8, &pass.places());
    let mut given = Given { values: [(a, rows.clone()), (b, rows)].into(), ..Given::default() };
    assert_eq!(executor.one(sum, &given).unwrap().places(), pass.places());
    given.values.remove(&b);
    let error = executor.one(sum, &given).unwrap_err();
    assert!(error.to_string().starts_with("b: no row can be computed"), "{error}");
}
