//! Layouts: other orders of axes, fused matrices, repeated heads, padding, parts of a pass. Next to each is a mistake
//! that looks the same.

use candle_core::{D, DType, Device, IndexOp, Tensor};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rbees_check::port::LlamaPort;
use rbees_check::probe::Site;
use rbees_check::weights::Config;
use rstest::rstest;

use crate::alter::{only, site, without};
use crate::recorded::{Arrays, ids, input_of, pass, pass_over, remade, short};
use crate::run::{Run, fails, is_refused, is_stated, is_undecided, run};

/// The last axis of `[b, s, heads · d]` split: `[b, s, heads, d]`.
pub fn heads_of(merged: &Tensor, heads: usize) -> Tensor {
    let (b, s, width) = merged.dims3().unwrap();
    merged.reshape((b, s, heads, width / heads)).unwrap()
}

fn of(arrays: &Arrays, layer: usize, name: &str) -> Tensor {
    arrays[&site(layer, name)].clone()
}

/// q, k and v side by side.
pub fn fused_qkv(arrays: &Arrays, layer: usize) -> Tensor {
    let parts =
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map(|name| of(arrays, layer, name));
    Tensor::cat(&parts, 2).unwrap()
}

/// For each of two key heads: the queries of its three heads, its key, its value.
pub fn fused_by_group(arrays: &Arrays, layer: usize) -> Tensor {
    let [q, k, v] =
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map(|name| of(arrays, layer, name));
    let group = |n: usize| {
        let part = |tensor: &Tensor, heads: usize| tensor.narrow(2, n * heads * 32, heads * 32).unwrap();
        Tensor::cat(&[part(&q, 3), part(&k, 1), part(&v, 1)], 2).unwrap()
    };
    Tensor::cat(&[group(0), group(1)], 2).unwrap()
}

/// The gate, then up.
pub fn fused_gate_up(arrays: &Arrays, layer: usize) -> Tensor {
    Tensor::cat(&[of(arrays, layer, "mlp.gate_proj"), of(arrays, layer, "mlp.up_proj")], 2).unwrap()
}

/// silu(gate).
pub fn silu_of(arrays: &Arrays, layer: usize) -> Tensor {
    of(arrays, layer, "mlp.gate_proj").silu().unwrap()
}

/// The recording with the arrays of a kind changed in every layer.
fn each(mut arrays: Arrays, name: &str, change: impl Fn(&Tensor) -> Tensor) -> Arrays {
    for layer in 0..4 {
        let changed = change(&of(&arrays, layer, name)).contiguous().unwrap();
        arrays.insert(site(layer, name), changed);
    }
    arrays
}

/// The recording passes with one note, and without any if a map says what the note asks for.
fn is_recognised_as(arrays: &Arrays, what: &str, line: &str) {
    let found = run(arrays);
    let note = format!("{what}; to state it: {line} under [layout] in a --map file");
    assert_eq!((found.notes(), found.code), (vec![note.as_str()], 0), "{}", found.text);
    let stated = Run::with_map(arrays, &format!("[layout]\n{line}\n"));
    assert_eq!((stated.notes(), stated.code), (vec![], 0), "{}", stated.text);
    is_refused(
        arrays,
        &format!("hint: state it: {line} under [layout] in a --map file; or leave out --strict"),
    );
}

const THREE: &str = "(and 3 more) has the axes";

#[rstest]
#[case::split("self_attn.q_proj", |t: &Tensor| heads_of(t, 6), "b s h d")]
#[case::split_heads_first("self_attn.k_proj", |t: &Tensor| heads_of(t, 2).transpose(1, 2).unwrap(), "b h s d")]
#[case::positions_first("self_attn.q_rope", |t: &Tensor| t.transpose(1, 2).unwrap(), "b s h d")]
#[case::merged("self_attn.k_rope", |t: &Tensor| t.transpose(1, 2).unwrap().flatten_from(2).unwrap(), "b s w")]
#[case::batch_second("self_attn.q_rope", |t: &Tensor| t.permute((2, 0, 1, 3)).unwrap(), "s b h d")]
#[case::context_heads_first("self_attn.context", |t: &Tensor| heads_of(t, 6).transpose(1, 2).unwrap(), "b h s d")]
#[case::megatron("self_attn.context", |t: &Tensor| t.transpose(0, 1).unwrap(), "s b w")]
#[case::hidden("post_attention_layernorm", |t: &Tensor| t.transpose(0, 1).unwrap(), "s b w")]
#[case::more_axes("mlp.gate_proj", |t: &Tensor| t.reshape((13, 1, 1, 256)).unwrap(), "s b 1 w")]
#[case::scores_by_query("self_attn.scores", |t: &Tensor| t.transpose(1, 2).unwrap(), "b s h t")]
#[case::width_first("mlp.act", |t: &Tensor| t.transpose(1, 2).unwrap(), "b w s")]
fn axes_are_recognised_by_their_shape(
    #[case] name: &str,
    #[case] change: fn(&Tensor) -> Tensor,
    #[case] axes: &str,
) {
    let what = format!("{} {THREE} `{axes}`, as its shape shows", site(0, name));
    is_recognised_as(&each(short(), name, change), &what, &format!("\"{name}\" = \"{axes}\""));
}

/// The heads of the queries are in another order than those of the keys.
#[rstest]
#[case::canonical(|t: &Tensor| t.clone())]
#[case::positions_first(|t: &Tensor| t.transpose(1, 2).unwrap())]
fn queries_with_their_heads_in_another_order_fail(#[case] change: fn(&Tensor) -> Tensor) {
    let order = Tensor::new(&[5u32, 4, 3, 2, 1, 0], &Device::Cpu).unwrap();
    let swapped = each(short(), "self_attn.q_rope", |t| t.index_select(&order, 1).unwrap());
    let run = run(&each(swapped, "self_attn.q_rope", change));
    assert_eq!(run.code, 1, "{}", run.text);
    assert!(run.failed().contains(&"01B") && run.failed().contains(&"03"), "{}", run.text);
}

/// Six positions, as many as heads.
fn square(altered: impl Fn(&mut Config)) -> Arrays {
    pass(&ids("short")[..6], altered)
}

#[test]
fn a_recorded_consumer_decides_between_axes_of_the_same_size() {
    let arrays = each(square(|_| {}), "self_attn.q_rope", |t| t.transpose(1, 2).unwrap());
    let what = "model.layers.0.self_attn.q_rope (and 3 more) has the axes `b s h d`, as the tensors computed from it show";
    is_recognised_as(&arrays, what, "\"self_attn.q_rope\" = \"b s h d\"");
}

#[test]
fn without_a_consumer_axes_of_the_same_size_are_not_decided() {
    let all = each(square(|_| {}), "self_attn.q_rope", |t| t.transpose(1, 2).unwrap());
    let few = only(all, &["0.input_layernorm", "0.self_attn.q_proj", "0.self_attn.q_rope"]);
    is_undecided(
        &few,
        "the axes of model.layers.0.self_attn.q_rope may be `b h s d` or `b s h d`: nothing recorded shows which",
        "record model.layers.0.self_attn.scores too; or state it in a --map file: \"self_attn.q_rope\" = \"b s h d\" under [layout]",
    );
}

/// The port itself takes heads for positions.
#[test]
fn a_port_that_exchanges_heads_and_positions_of_the_same_number_fails() {
    let prompt = &ids("short")[..6];
    let arrays = remade(&Input::single(prompt, 0), |at, tensor, _| {
        at.to_string().ends_with("q_rope").then(|| tensor.transpose(1, 2).unwrap().contiguous().unwrap())
    });
    let run = run(&arrays);
    assert_eq!((run.notes(), run.code), (vec![], 1), "{}", run.text);
    assert!(run.failed().contains(&"01B"), "{}", run.text);
}

/// The memory of a context with heads before positions, written with the dimensions of one with positions first.
#[test]
fn a_recorded_consumer_decides_between_orders_of_the_same_dimensions() {
    let memory = |t: &Tensor| {
        heads_of(t, 6).transpose(1, 2).unwrap().contiguous().unwrap().reshape((1, 13, 192)).unwrap()
    };
    let what = "model.layers.0.self_attn.context (and 3 more) has the axes `b h s d` in memory, whatever its dimensions say, as the tensors computed from it show";
    is_recognised_as(
        &each(short(), "self_attn.context", memory),
        what,
        "\"self_attn.context\" = \"memory b h s d\"",
    );
    // A port that does not move its heads back.
    let wrong = remade(&Input::single(&ids("short"), 0), |at, tensor, _| {
        at.to_string().ends_with(".context").then(|| memory(tensor))
    });
    let wrong = run(&wrong);
    assert_eq!((wrong.code, wrong.notes()), (1, vec![]), "{}", wrong.text);
    assert!(wrong.failed().contains(&"03"), "{}", wrong.text);
}

/// Keys before queries, of which there are as many.
#[test]
fn scores_with_keys_before_queries_are_recognised_by_what_was_computed_from_them() {
    let arrays = each(short(), "self_attn.scores", |t| t.transpose(2, 3).unwrap());
    let what = "model.layers.0.self_attn.scores (and 3 more) has the axes `b h t s`, as the tensors computed from it show";
    is_recognised_as(&arrays, what, "\"self_attn.scores\" = \"b h t s\"");
    let wrong = remade(&Input::single(&ids("short"), 0), |at, tensor, _| {
        at.to_string().ends_with(".scores").then(|| tensor.transpose(2, 3).unwrap().contiguous().unwrap())
    });
    let wrong = run(&wrong);
    assert_eq!((wrong.code, wrong.notes()), (1, vec![]), "{}", wrong.text);
}

/// All rows of a batch one after another, or one position of all rows after another.
#[rstest]
#[case::rows("(b s) w", "(b s) h d")]
#[case::positions("(s b) w", "(s b) h d")]
fn a_batch_without_an_axis_is_recognised(#[case] axes: &str, #[case] split: &str) {
    let case = models::fixture("tiny-llama").unwrap().case("batch-left").unwrap();
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let all = without(pass_over(&mut LlamaPort::new(llama), &input_of(&case), &case), &[".scores", ".probs"]);
    let flat = |(name, tensor): (String, Tensor)| {
        let rows = match tensor.rank() {
            2 => return (name, tensor),
            4 => tensor.transpose(1, 2).unwrap(),
            _ => tensor,
        };
        let rows = if axes.starts_with("(s") { rows.transpose(0, 1).unwrap() } else { rows };
        (name, rows.contiguous().unwrap().flatten(0, 1).unwrap())
    };
    let found = run(&all.into_iter().map(flat).collect());
    assert_eq!(found.code, 0, "{}", found.text);
    assert!(found.text.contains(&format!("\"self_attn.q_proj\" = \"{axes}\"")), "{}", found.text);
    assert!(found.text.contains(&format!("\"self_attn.q_rope\" = \"{split}\"")), "{}", found.text);
}

/// A copy of each key head for each of its three query heads.
fn repeated(t: &Tensor, axis: usize) -> Tensor {
    t.contiguous()
        .unwrap()
        .index_select(&Tensor::new(&[0u32, 0, 0, 1, 1, 1], &Device::Cpu).unwrap(), axis)
        .unwrap()
}

/// The heads one after another, three times.
fn tiled(t: &Tensor, axis: usize) -> Tensor {
    t.index_select(&Tensor::new(&[0u32, 1, 0, 1, 0, 1], &Device::Cpu).unwrap(), axis).unwrap()
}

#[rstest]
#[case::rotated_keys("self_attn.k_rope", |t: &Tensor| repeated(t, 1), "repeated")]
#[case::values("self_attn.v_proj", |t: &Tensor| repeated(&heads_of(t, 2), 2).flatten_from(2).unwrap(), "repeated")]
fn repeated_heads_are_recognised(
    #[case] name: &str,
    #[case] change: fn(&Tensor) -> Tensor,
    #[case] word: &str,
) {
    let what = format!(
        "{} (and 3 more) has each head 3 times, once for each query head, as its shape shows",
        site(0, name)
    );
    is_recognised_as(&each(short(), name, change), &what, &format!("\"{name}\" = \"{word}\""));
}

#[test]
fn repeated_heads_may_have_another_order_of_axes() {
    let arrays = each(short(), "self_attn.v_proj", |t| repeated(&heads_of(t, 2).transpose(1, 2).unwrap(), 1));
    let what = "model.layers.0.self_attn.v_proj (and 3 more) has the axes `b h s d` and has each head 3 times, once for each query head, as its shape shows";
    is_recognised_as(&arrays, what, "\"self_attn.v_proj\" = [\"b h s d\", \"repeated\"]");
}

/// One copy has another value.
#[test]
fn heads_that_are_not_copies_are_refused() {
    let arrays = each(short(), "self_attn.k_rope", |t| {
        let all = repeated(t, 1);
        let last = (all.i((.., 5..)).unwrap() * 1.0001).unwrap();
        Tensor::cat(&[all.i((.., ..5)).unwrap(), last], 1).unwrap()
    });
    is_undecided(
        &arrays,
        "`model.layers.0.self_attn.k_rope` has 6 heads instead of 2, but they are not copies of each other",
        "record model.layers.0.self_attn.k_rope before its heads are repeated",
    );
}

/// Query head h attends to key head h mod 2: recorded by a port that does so, and in a recording that denies it.
#[test]
fn heads_that_are_repeated_in_another_order_fail() {
    let arrays = remade(&Input::single(&ids("short"), 0), |at: Site, tensor, so_far: &Arrays| {
        if !at.to_string().ends_with(".scores") {
            return None;
        }
        let of = |name: &str| so_far[&site(at.layer.unwrap().into(), name)].clone();
        let keys = tiled(&of("self_attn.k_rope"), 1).transpose(D::Minus1, D::Minus2).unwrap();
        let scores =
            (of("self_attn.q_rope").matmul(&keys.contiguous().unwrap()).unwrap() / 32f64.sqrt()).unwrap();
        let hidden = tensor.eq(f32::NEG_INFINITY).unwrap();
        Some(hidden.where_cond(tensor, &scores).unwrap())
    });
    let run = run(&each(arrays, "self_attn.k_rope", |t| tiled(t, 1)));
    assert_eq!(run.code, 1, "{}", run.text);
    assert!(run.named().contains(&"head-map"), "{}", run.text);
    let contradiction = each(short(), "self_attn.k_rope", |t| tiled(t, 1));
    is_undecided(
        &contradiction,
        "the heads of `model.layers.0.self_attn.k_rope` are repeated as a whole, but model.layers.0.self_attn.scores needs each head repeated on its own for its query heads",
        "record model.layers.0.self_attn.k_rope before its heads are repeated",
    );
}

/// q, k and v, and gate and up, in one array.
fn fused(arrays: &Arrays) -> Arrays {
    let mut all = without(arrays.clone(), &["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]);
    for layer in 0..4 {
        all.insert(site(layer, "self_attn.qkv_proj"), fused_qkv(arrays, layer));
        all.insert(site(layer, "mlp.gate_up_proj"), fused_gate_up(arrays, layer));
    }
    all
}

#[test]
fn fused_arrays_are_divided() {
    let found = run(&fused(&short()));
    assert_eq!((found.code, found.notes().len()), (0, 1), "{}", found.text);
    assert!(found.text.contains("coverage: 71 of 71 sites"), "{}", found.text);
    is_stated(&fused(&short()), &[("names", "transformers")]);
    let map = "[names]\n\"model.layers.{N}.self_attn.qkv_proj\" = [\"model.layers.{N}.self_attn.q_proj\", \"model.layers.{N}.self_attn.k_proj\", \"model.layers.{N}.self_attn.v_proj\"]\n\"model.layers.{N}.mlp.gate_up_proj\" = [\"model.layers.{N}.mlp.gate_proj\", \"model.layers.{N}.mlp.up_proj\"]\n";
    let mapped = Run::with_map(&fused(&short()), map);
    assert_eq!((mapped.code, mapped.notes()), (0, vec![]), "{}", mapped.text);
}

/// A port that takes up for the gate records the same arrays as one that was recorded so.
#[test]
fn gate_and_up_that_are_exchanged_fail() {
    let arrays = remade(&Input::single(&ids("short"), 0), |at: Site, _, so_far: &Arrays| {
        let layer = usize::from(at.layer?);
        let of = |name: &str| of(so_far, layer, name);
        let exchanged = || of("mlp.up_proj").silu().unwrap() * of("mlp.gate_proj");
        at.to_string().ends_with("mlp.act").then(|| exchanged().unwrap())
    });
    let mut exchanged = fused(&arrays);
    for layer in 0..4 {
        let parts = [of(&arrays, layer, "mlp.up_proj"), of(&arrays, layer, "mlp.gate_proj")];
        exchanged.insert(site(layer, "mlp.gate_up_proj"), Tensor::cat(&parts, 2).unwrap());
    }
    let run = run(&exchanged);
    assert_eq!((run.code, run.failed()[0]), (1, "05"), "{}", run.text);
    assert!(run.named().contains(&"gate-up-swapped"), "{}", run.text);
}

/// Fused arrays may have other axes too.
#[test]
fn fused_arrays_with_the_batch_second_are_recognised() {
    let mut arrays = fused(&short());
    for layer in 0..4 {
        let name = site(layer, "self_attn.qkv_proj");
        arrays.insert(name.clone(), arrays[&name].transpose(0, 1).unwrap().contiguous().unwrap());
    }
    let found = run(&arrays);
    assert_eq!(found.code, 0, "{}", found.text);
    assert!(found.text.contains("coverage: 71 of 71 sites"), "{}", found.text);
}

/// Leaf hooks: silu(gate) beside everything else, a fused copy of gate and up, and a number.
#[test]
fn the_arrays_of_leaf_hooks_are_recognised() {
    let mut arrays = short();
    for layer in 0..4 {
        arrays.insert(site(layer, "mlp.act_fn"), silu_of(&arrays, layer));
        arrays.insert(site(layer, "mlp.gate_up_proj"), fused_gate_up(&arrays, layer));
    }
    arrays.insert("loss".into(), Tensor::new(0.5f32, &Device::Cpu).unwrap());
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len()), (0, 2), "{}", found.text);
    // A copy that is not one.
    let parts = [of(&arrays, 1, "mlp.up_proj"), of(&arrays, 1, "mlp.gate_proj")];
    let swapped = Tensor::cat(&parts, 2).unwrap();
    let mut wrong = arrays.clone();
    wrong.insert(site(1, "mlp.gate_up_proj"), swapped);
    is_undecided(
        &wrong,
        "`model.layers.1.mlp.gate_proj` and `model.layers.1.mlp.gate_up_proj` both name model.layers.1.mlp.gate_proj, and their values differ",
        "leave the wrong one out",
    );
    // Another activation.
    arrays.insert(site(2, "mlp.act_fn"), of(&arrays, 2, "mlp.gate_proj").gelu().unwrap());
    let found = run(&arrays);
    assert_eq!((found.code, found.failed()[0]), (1, "05"), "{}", found.text);
    assert!(found.text.contains("FAIL 05 ffn · model.layers.2.mlp.act_fn"), "{}", found.text);
}

/// silu(gate) under the name of the product, which `down_proj` contradicts or confirms.
#[test]
fn an_activation_that_is_not_yet_multiplied_is_recognised() {
    let mut arrays = short();
    (0..4).for_each(|layer| _ = arrays.insert(site(layer, "mlp.act"), silu_of(&arrays, layer)));
    let what = "model.layers.0.mlp.act is silu(gate), not yet multiplied by up, as model.layers.0.mlp.down_proj shows";
    crate::run::is_recognised(&arrays, what, "\"act\": \"silu(gate)\"");
    let forgets = remade(&Input::single(&ids("short"), 0), |at: Site, _, so_far: &Arrays| {
        at.to_string().ends_with("mlp.act").then(|| silu_of(so_far, at.layer.unwrap().into()))
    });
    fails(&run(&forgets), &["05"], &["gated-product"]);
    // The block is a consumer too; without any, nothing decides.
    crate::run::is_recognised(
        &without(arrays.clone(), &["down_proj"]),
        "model.layers.0.mlp.act is silu(gate), not yet multiplied by up, as model.layers.0 shows",
        "\"act\": \"silu(gate)\"",
    );
    is_undecided(
        &only(arrays, &["0.mlp.gate_proj", "0.mlp.up_proj", "0.mlp.act"]),
        "model.layers.0.mlp.act is silu(gate): it was recorded before it was multiplied by up, or the port never does so",
        "record model.layers.0.mlp.down_proj too; or, if it was recorded before, state it: \"act\": \"silu(gate)\" in the metadata",
    );
}

#[test]
fn a_padded_vocabulary_is_recognised() {
    let pad = |front: bool| {
        let mut arrays = short();
        let logits = arrays["lm_head"].clone();
        let padding = Tensor::zeros((1, 13, 64), logits.dtype(), &Device::Cpu).unwrap();
        let parts = if front { [padding, logits] } else { [logits, padding] };
        arrays.insert("lm_head".into(), Tensor::cat(&parts, 2).unwrap());
        arrays
    };
    let what = "lm_head has columns of padding behind the vocabulary, as its shape shows";
    is_recognised_as(&pad(false), what, "\"lm_head\" = \"padded\"");
    let found = run(&pad(true));
    assert_eq!((found.code, found.failed()[0]), (1, "07"), "{}", found.text);
}

/// The last layer of llama.cpp computes only the rows that are needed.
#[test]
fn the_last_positions_are_recognised() {
    let mut arrays = short();
    let names =
        ["self_attn.o_proj", "post_attention_layernorm.input", "post_attention_layernorm", "mlp.act", ""];
    for name in names {
        arrays.insert(site(3, name), of(&arrays, 3, name).i((.., 12..)).unwrap().contiguous().unwrap());
    }
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len()), (0, 1), "{}", found.text);
    let note = "model.layers.3.self_attn.o_proj (and 4 more) has the last positions only, as its shape shows; to state it: \"model.layers.3.self_attn.o_proj\" = \"last\", \"model.layers.3.post_attention_layernorm.input\" = \"last\", ";
    assert!(found.notes()[0].starts_with(note), "{}", found.text);
    let wrong = (of(&arrays, 3, "mlp.act") * 1.01).unwrap();
    arrays.insert(site(3, "mlp.act"), wrong);
    let found = run(&arrays);
    assert_eq!((found.code, found.failed()[0]), (1, "05"), "{}", found.text);
}

/// A recorder that keeps the last position of everything.
#[test]
fn a_recording_of_the_last_position_is_recognised() {
    let last = |(name, tensor): (String, Tensor)| {
        let axis = if tensor.rank() == 4 { 2 } else { 1 };
        let kept = if name == "input_ids" {
            tensor
        } else {
            tensor.narrow(axis, 12, 1).unwrap().contiguous().unwrap()
        };
        (name, kept)
    };
    let found = run(&short().into_iter().map(last).collect());
    assert_eq!((found.code, found.notes().len()), (0, 1), "{}", found.text);
    let wrong = pass(&ids("short"), |config: &mut Config| config.rope_theta = 1e4);
    let found = run(&wrong.into_iter().map(last).collect());
    assert_eq!((found.code, found.failed()[0]), (1, "01B"), "{}", found.text);
}

#[test]
fn a_recording_that_was_cut_off_is_recognised() {
    let arrays = each(short(), "mlp.act", |t| t.i((.., ..10)).unwrap());
    let what = "model.layers.0.mlp.act (and 3 more) has the first positions only, as its shape shows";
    is_recognised_as(&arrays, what, "\"mlp.act\" = \"first\"");
}

#[rstest]
#[case::honest(|_: &mut Config| {}, 0)]
#[case::theta(|config: &mut Config| config.rope_theta = 1e4, 1)]
fn layers_in_the_middle_are_enough(#[case] altered: fn(&mut Config), #[case] code: i32) {
    let mut arrays = pass(&ids("short"), altered);
    arrays.retain(|name, _| name == "input_ids" || name.starts_with("model.layers.2"));
    let run = run(&arrays);
    assert_eq!((run.code, run.notes()), (code, vec![]), "{}", run.text);
}

/// The rows of q and k in neighbouring pairs.
fn interleaved(mut arrays: Arrays, names: &[&str]) -> Arrays {
    for name in names {
        arrays = each(arrays, name, |t| {
            let width = t.dim(D::Minus1).unwrap() as u32;
            let order: Vec<u32> = (0..width).map(|j| j / 32 * 32 + j % 2 * 16 + j % 32 / 2).collect();
            t.index_select(&Tensor::new(order, &Device::Cpu).unwrap(), t.rank() - 1).unwrap()
        });
    }
    arrays
}

const PAIRED: [&str; 4] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.q_rope", "self_attn.k_rope"];

#[rstest]
#[case::scores(&[], "scores")]
#[case::context(&[".scores", ".probs"], "context")]
#[case::rotated_only(&["q_proj", "k_proj"], "scores")]
fn neighbouring_pairs_are_recognised(#[case] missing: &[&str], #[case] consumer: &str) {
    let what = format!(
        "elements i and i + head_dim/2 are next to each other in q and k, as in GGUF files; model.layers.0.self_attn.{consumer} was computed from them"
    );
    let arrays = without(interleaved(short(), &PAIRED), missing);
    crate::run::is_recognised(&arrays, &what, "\"layout\": \"interleaved\"");
}

#[test]
fn neighbouring_pairs_without_a_consumer_are_not_decided() {
    let names = ["0.input_layernorm", "0.self_attn.q_proj", "0.self_attn.k_proj", "0.self_attn.q_rope"];
    let few = only(interleaved(short(), &PAIRED), &names);
    is_undecided(
        &few,
        "model.layers.0.self_attn.q_proj is right if elements i and i + head_dim/2 are next to each other in q and k",
        "record model.layers.0.self_attn.scores too; or, if they are, state it: \"layout\": \"interleaved\" in the metadata",
    );
}

/// Only the queries are in this order, or everything but with another θ.
#[test]
fn mistakes_that_look_like_neighbouring_pairs_fail() {
    let queries = run(&interleaved(short(), &["self_attn.q_proj", "self_attn.q_rope"]));
    assert_eq!((queries.code, queries.notes()), (1, vec![]), "{}", queries.text);
    let theta = pass(&ids("short"), |config| config.rope_theta = 1e4);
    let theta = run(&interleaved(theta, &PAIRED));
    assert_eq!((theta.code, theta.notes().len()), (1, 1), "{}", theta.text);
    assert_eq!(theta.named(), ["rope-theta"], "{}", theta.text);
}

#[rstest]
#[case::width("mlp.act", |t: &Tensor| t.i((.., .., ..200)).unwrap(), "`model.layers.0.mlp.act` cannot be read as model.layers.0.mlp.act: its shape is [1, 13, 200], but model.layers.0.mlp.act has [1, 13, 256]", "\"mlp.act\" = \"s b w\" under [layout]")]
#[case::heads("self_attn.q_rope", |t: &Tensor| t.i((.., ..4)).unwrap(), "its shape is [1, 4, 13, 32], but model.layers.0.self_attn.q_rope has [1, 6, 13, 32]", "\"self_attn.q_rope\" = \"b s h d\" under [layout]")]
fn a_shape_that_nothing_explains_is_refused(
    #[case] name: &str,
    #[case] change: fn(&Tensor) -> Tensor,
    #[case] what: &str,
    #[case] line: &str,
) {
    is_undecided(&each(short(), name, change), what, line);
}
