//! Passes on a cache that is not empty: one with the keys and values that it found there, or several passes in a
//! directory, each on the cache that the earlier ones left.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rstest::rstest;
use tempfile::{TempDir, tempdir};

use crate::alter::without;
use crate::recorded::{Arrays, Recorded, ids, input_of, write_stating};
use crate::run::{Run, Stated, stating};

/// Records each part of `input` as a pass on one cache.
fn recorded(input: &Input, ends: &[usize]) -> Vec<Arrays> {
    let weights = models::open("tiny-llama").unwrap().weights;
    let llama = Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let (mut cache, mut start) = (llama.new_cache(), 0);
    let pass = |&end: &usize| {
        let (part, mut recorded) = (input.slice(start..end), Recorded::default());
        start = end;
        llama.forward(&part, &mut cache, &mut recorded).unwrap();
        of_tokens(recorded.0, &part)
    };
    ends.iter().map(pass).collect()
}

/// Adds ids, positions and, if there is padding, the mask.
fn of_tokens(mut arrays: Arrays, input: &Input) -> Arrays {
    let rows = |row: &dyn Fn(usize) -> Vec<i64>| {
        Tensor::new((0..input.batch()).map(row).collect::<Vec<_>>(), &Device::Cpu).unwrap()
    };
    let positions = rows(&|b| input.positions[b].iter().map(|&position| position as i64).collect());
    arrays.insert("position_ids".into(), positions);
    arrays.insert("input_ids".into(), rows(&|b| input.ids[b].iter().map(|&id| id.into()).collect()));
    if input.real.iter().flatten().any(|real| !real) {
        let mask = rows(&|b| input.real[b].iter().map(|&real| real.into()).collect());
        arrays.insert("attention_mask".into(), mask);
    }
    arrays
}

/// The case `short`: a prompt of eight tokens, a chunk of three, and two single tokens.
fn short() -> Vec<Arrays> {
    recorded(&Input::single(&ids("short"), 0), &[8, 11, 12, 13])
}

/// The keys (`k_rope`) and values (`v_proj`) of the passes before `end`, `[b, kv_heads, t, head_dim]`.
fn cache(passes: &[Arrays], layer: usize, end: usize) -> [Tensor; 2] {
    let of = |name: &str| {
        let parts: Vec<Tensor> = passes[..end]
            .iter()
            .map(|pass| {
                let tensor = &pass[&format!("model.layers.{layer}.self_attn.{name}")];
                match tensor.dims() {
                    &[b, s, w] => tensor.reshape((b, s, w / 32, 32)).unwrap().transpose(1, 2).unwrap(),
                    _ => tensor.clone(),
                }
            })
            .collect();
        Tensor::cat(&parts, 2).unwrap().contiguous().unwrap()
    };
    [of("k_rope"), of("v_proj")]
}

/// How a cache is recorded.
#[derive(Clone, Copy)]
struct Cached {
    /// The names of its keys and values.
    names: [&'static str; 2],
    /// Does it contain the rows of the pass itself?
    after: bool,
    /// The array that is recorded.
    form: fn(&Tensor) -> Tensor,
}

const OWN: [&str; 2] = ["model.layers.{N}.self_attn.past_key", "model.layers.{N}.self_attn.past_value"];
const BEFORE: Cached = Cached { names: OWN, after: false, form: Tensor::clone };

/// Pass `n` with the cache that it found.
fn with_cache(passes: &[Arrays], n: usize, how: Cached) -> Arrays {
    let mut arrays = passes[n].clone();
    for layer in 0..4 {
        let tensors = cache(passes, layer, n + usize::from(how.after));
        for (name, tensor) in how.names.iter().zip(&tensors) {
            arrays.insert(name.replace("{N}", &layer.to_string()), (how.form)(tensor));
        }
    }
    arrays
}

fn positions_first(cached: &Tensor) -> Tensor {
    cached.transpose(1, 2).unwrap().contiguous().unwrap()
}

/// Behind the last token are unused slots.
fn of_fixed_size(cached: &Tensor) -> Tensor {
    cached.pad_with_zeros(2, 0, 32 - cached.dims()[2]).unwrap()
}

fn of_fixed_size_positions_first(cached: &Tensor) -> Tensor {
    positions_first(&of_fixed_size(cached))
}

fn merged(cached: &Tensor) -> Tensor {
    let (b, h, t, d) = cached.dims4().unwrap();
    positions_first(cached).reshape((b, t, h * d)).unwrap()
}

/// Writes one file for each pass.
fn written(passes: &[Arrays], metadata: Stated<'_>) -> TempDir {
    let folder = tempdir().unwrap();
    for (n, pass) in passes.iter().enumerate() {
        let inner = tempdir().unwrap();
        let file = write_stating(inner.path(), pass, metadata);
        fs::copy(file, folder.path().join(format!("pass-{n}.safetensors"))).unwrap();
    }
    folder
}

fn judged(passes: &[Arrays]) -> Run {
    Run::of(written(passes, &[]).path(), &["--strict"])
}

fn is_green(run: &Run) {
    assert_eq!((run.notes(), run.code), (vec![], 0), "{}", run.text);
    assert!(!run.text.contains("recorded but not checked"), "{}", run.text);
}

/// The line of a checkpoint.
fn line<'a>(run: &'a Run, id: &str) -> &'a str {
    run.text.lines().find(|line| line[2.min(line.len())..].contains(&format!("  {id} "))).unwrap_or("")
}

#[rstest]
#[case::before(BEFORE)]
#[case::after(Cached { after: true, ..BEFORE })]
#[case::positions_first(Cached { form: positions_first, ..BEFORE })]
#[case::of_fixed_size(Cached { form: of_fixed_size, ..BEFORE })]
#[case::of_fixed_size_after(Cached { form: of_fixed_size, after: true, ..BEFORE })]
#[case::heads_merged(Cached { form: merged, ..BEFORE })]
fn a_step_with_its_cached_keys_is_judged_whole(#[case] how: Cached) {
    let run = stating(&with_cache(&short(), 1, how), &[]);
    is_green(&run);
    assert!(line(&run, "03").contains("16 sites"), "{}", run.text);
}

#[rstest]
#[case::transformers(["past_key_values.layers.{N}.keys", "past_key_values.layers.{N}.values"], Tensor::clone)]
#[case::older_transformers(["past_key_values.key_cache.{N}", "past_key_values.value_cache.{N}"], Tensor::clone)]
#[case::tuples(["past_key_values.{N}.0", "past_key_values.{N}.1"], Tensor::clone)]
#[case::candle(["kv_cache.{N}.k", "kv_cache.{N}.v"], Tensor::clone)]
#[case::litgpt(["transformer.h.{N}.attn.kv_cache.k", "transformer.h.{N}.attn.kv_cache.v"], of_fixed_size)]
#[case::torchtune(["layers.{N}.attn.kv_cache.k_cache", "layers.{N}.attn.kv_cache.v_cache"], of_fixed_size)]
#[case::meta(["layers.{N}.attention.cache_k", "layers.{N}.attention.cache_v"], of_fixed_size_positions_first)]
fn the_cache_of_another_project_is_read(
    #[case] names: [&'static str; 2],
    #[case] form: fn(&Tensor) -> Tensor,
) {
    let run = stating(&with_cache(&short(), 2, Cached { names, after: false, form }), &[]);
    assert_eq!(run.code, 0, "{}", run.text);
    assert!(line(&run, "03").contains("16 sites"), "{}", run.text);
    assert!(run.notes().iter().all(|note| note.starts_with("names are those of")), "{}", run.text);
}

/// llama.cpp's cache has heads merged and neighbouring pairs, and its values are transposed in memory.
#[test]
fn the_cache_of_llama_cpp_is_read() {
    let (passes, n) = (short(), 2);
    let mut arrays = with_cache(
        &passes,
        n,
        Cached {
            names: ["cache_k_l{N}", "cache_v_l{N}"],
            after: true,
            form: |cached| merged(&of_fixed_size(cached)),
        },
    );
    let pairs = |tensor: &Tensor| {
        let dims = tensor.dims().to_vec();
        let split = [&dims[..dims.len() - 1], &[dims[dims.len() - 1] / 32, 2, 16]].concat();
        let turned = tensor.reshape(split).unwrap().transpose(D::Minus2, D::Minus1).unwrap();
        turned.contiguous().unwrap().reshape(dims).unwrap()
    };
    for (name, tensor) in arrays.iter_mut() {
        if ["q_proj", "k_proj", "q_rope", "k_rope"].iter().any(|end| name.ends_with(end))
            || name.starts_with("cache_k")
        {
            *tensor = pairs(tensor);
        } else if name.starts_with("cache_v") {
            let dims = tensor.dims().to_vec();
            *tensor = tensor.transpose(1, 2).unwrap().contiguous().unwrap().reshape(dims).unwrap();
        }
    }
    let run = stating(&arrays, &[("layout", "interleaved")]);
    assert_eq!(run.code, 0, "{}", run.text);
    assert!(line(&run, "03").contains("16 sites"), "{}", run.text);
}

#[rstest]
#[case::with_the_caches(true)]
#[case::without_them(false)]
fn several_passes_are_judged_each_on_the_cache_of_the_earlier_ones(
    #[case] caches: bool,
    #[values(&[], &[".scores", ".probs"])] missing: &[&str],
) {
    let passes = short();
    let all: Vec<Arrays> = (0..passes.len())
        .map(|n| if caches && n > 0 { with_cache(&passes, n, BEFORE) } else { passes[n].clone() })
        .map(|pass| without(pass, missing))
        .collect();
    let run = judged(&all);
    is_green(&run);
    let laws = if caches { "3 laws" } else { "1 law " };
    assert!(line(&run, "04").contains(laws), "{}", run.text);
}

/// Rows of different lengths, padded on the left. In a step, the mask has a column for each cached slot.
#[rstest]
fn steps_of_a_padded_batch_are_judged(#[values(true, false)] caches: bool) {
    let input = input_of(&models::fixture("tiny-llama").unwrap().case("batch-left").unwrap());
    let length = input.len();
    let passes = recorded(&input, &[length - 2, length - 1, length]);
    let all = passes.iter().enumerate().map(|(n, pass)| {
        let mut pass = if caches && n > 0 { with_cache(&passes, n, BEFORE) } else { pass.clone() };
        let end = length - 2 + n;
        let mask: Vec<Vec<i64>> =
            input.real.iter().map(|row| row[..end].iter().map(|&real| real.into()).collect()).collect();
        pass.insert("attention_mask".into(), Tensor::new(mask, &Device::Cpu).unwrap());
        pass
    });
    is_green(&judged(&all.collect::<Vec<_>>()));
}

#[test]
fn a_new_text_may_follow() {
    let first = recorded(&Input::single(&ids("short")[..6], 0), &[5, 6]);
    let second = recorded(&Input::single(&ids("short")[6..], 0), &[6, 7]);
    is_green(&judged(&[first, second].concat()));
}

/// Changes one row of the cache of pass 2.
fn altered(name: &str, slot: usize, row: impl Fn(&Tensor) -> Tensor) -> Vec<Arrays> {
    let passes = short();
    let mut all: Vec<Arrays> =
        (0..4).map(|n| if n == 0 { passes[0].clone() } else { with_cache(&passes, n, BEFORE) }).collect();
    let cached = all[2].get_mut(name).unwrap();
    let mut slots: Vec<Tensor> = (0..11).map(|slot| cached.narrow(2, slot, 1).unwrap()).collect();
    slots[slot] = row(cached);
    *cached = Tensor::cat(&slots, 2).unwrap();
    all
}

#[rstest]
#[case::zero("past_key", |cached: &Tensor| cached.narrow(2, 0, 1).unwrap().zeros_like().unwrap(), ": it is zero")]
#[case::of_another_token("past_value", |cached: &Tensor| cached.narrow(2, 3, 1).unwrap(), ": it is that of the token in slot 3 of row 0")]
#[case::scaled("past_key", |cached: &Tensor| (cached.narrow(2, 5, 1).unwrap() * 1.001).unwrap(), "")]
fn a_cache_with_another_row_than_was_computed_fails(
    #[case] name: &str,
    #[case] row: fn(&Tensor) -> Tensor,
    #[case] instead: &str,
) {
    let run = judged(&altered(&format!("model.layers.1.self_attn.{name}"), 5, row));
    assert_eq!((run.code, run.failed().contains(&"04")), (1, true), "{}", run.text);
    let what = name.trim_start_matches("past_");
    let says = format!(
        "in layer 1, the cached {what} in slot 5 of row 0 is not what the earlier pass computed{instead}\n"
    );
    assert!(run.text.contains(&says), "{}", run.text);
}

/// A cache that is wrong in one pass alone: attention does not follow from it.
#[test]
fn attention_that_does_not_follow_from_the_recorded_cache_fails() {
    let zero = |cached: &Tensor| cached.narrow(2, 0, 1).unwrap().zeros_like().unwrap();
    let run = stating(&altered("model.layers.1.self_attn.past_key", 5, zero)[2], &[]);
    assert_eq!((run.failed(), run.code), (vec!["03"], 1), "{}", run.text);
}

/// Runs `second` on the cache that is left after `first`.
fn on_the_same_cache(first: &[u32], second: &Input) -> Vec<Arrays> {
    let mut input = Input::single(first, 0);
    input.ids[0].extend(&second.ids[0]);
    input.positions[0].extend(&second.positions[0]);
    input.real[0].extend(&second.real[0]);
    recorded(&input, &[first.len(), input.len()])
}

#[rstest]
#[case::a_new_text(4, 0, "04", "cache-kept")]
#[case::a_step_at_position_0(1, 0, "01B", "decode-position")]
#[case::a_step_too_far(1, 9, "01B", "decode-position")]
fn positions_that_the_cache_contradicts_fail_and_are_named(
    #[case] tokens: usize,
    #[case] start: usize,
    #[case] checkpoint: &str,
    #[case] named: &str,
    #[values(&[], &[".scores", ".probs"])] missing: &[&str],
) {
    let (ids, caches) = (ids("short"), missing.is_empty());
    let mut passes = on_the_same_cache(&ids[..8], &Input::single(&ids[8..8 + tokens], start));
    if caches {
        passes[1] = with_cache(&passes, 1, BEFORE);
    }
    let passes: Vec<Arrays> = passes.into_iter().map(|pass| without(pass, missing)).collect();
    let run = judged(&passes);
    assert_eq!((run.failed(), run.named(), run.code), (vec![checkpoint], vec![named], 1), "{}", run.text);
}

/// The whole text is fed again, without a cache, but positions count on.
#[test]
fn positions_that_count_on_without_a_cache_fail_and_are_named() {
    let ids = ids("short");
    let first = recorded(&Input::single(&ids[..8], 0), &[8]);
    let again = recorded(&Input::single(&ids[..9], 8), &[9]);
    let run = judged(&[first, again].concat());
    assert_eq!((run.failed(), run.named()), (vec!["01B"], vec!["uncached-position"]), "{}", run.text);
}

fn refused(run: &Run, what: &str, hint: &str) {
    assert_eq!(run.code, 2, "{}", run.text);
    let (said, hinted) = run.text.split_once("\nhint: ").unwrap_or_else(|| panic!("{}", run.text));
    assert!(said.contains(what) && hinted.contains(hint), "{}", run.text);
}

#[test]
fn two_numbers_of_cached_tokens_are_both_named() {
    let step = with_cache(&short(), 2, BEFORE);
    let what = "the metadata say that 9 tokens are cached, but the recorded keys are those of 11";
    refused(&stating(&step, &[("cached", "9")]), what, "correct \"cached\" in the metadata");
}

#[test]
fn a_cache_of_another_shape_is_refused() {
    let half = |cached: &Tensor| cached.narrow(3, 0, 16).unwrap().contiguous().unwrap();
    let step = with_cache(&short(), 2, Cached { form: half, ..BEFORE });
    let what = "its shape is [1, 2, 11, 16], but a cache has the shape [1, 2, slots, 32]";
    refused(
        &stating(&step, &[]),
        what,
        "\"model.layers.0.self_attn.past_value\" = \"\" under [names] in a --map file",
    );
}

#[test]
fn an_array_of_cached_keys_can_be_mapped() {
    let names = ["mine.{N}.kc", "mine.{N}.vc"];
    let step = with_cache(&short(), 2, Cached { names, ..BEFORE });
    let lines: Vec<String> =
        names.iter().zip(OWN).map(|(mine, own)| format!("\"{mine}\" = \"{own}\"\n")).collect();
    let run = Run::with_map(&step, &format!("[names]\n{}", lines.concat()));
    is_green(&run);
    assert!(line(&run, "03").contains("16 sites"), "{}", run.text);
}

#[test]
fn two_recordings_of_several_passes_cannot_be_compared() {
    let folder = written(&short()[..2], &[]);
    let path = folder.path().to_str().unwrap();
    let run = Run::of(Path::new(path), &["--against", path]);
    refused(&run, "--against compares two recordings of one pass each", "pass-3.safetensors");
}

/// Logits of a run that the recorder did not see.
#[rstest]
#[case::the_same(1.0, 0)]
#[case::others(1.001, 1)]
fn logits_without_the_recorder_are_compared(#[case] factor: f64, #[case] code: i32) {
    let mut arrays = short().remove(0);
    let logits = (&arrays["lm_head"] * factor).unwrap();
    arrays.insert("unrecorded.logits".into(), logits);
    let run = stating(&arrays, &[]);
    let failed: Vec<&str> = if code == 0 { vec![] } else { vec!["07"] };
    assert_eq!((run.notes(), run.failed(), run.code), (vec![], failed, code), "{}", run.text);
    let says = "the pass that you recorded is not the one that runs without the recorder";
    assert_eq!(run.text.contains(says), code == 1, "{}", run.text);
}

/// Facts about passes go to the reports, too.
#[test]
fn a_report_names_the_pass() {
    let (folder, reports) = (written(&short()[..2], &[]), tempdir().unwrap());
    let file = reports.path().join("report.json");
    let run = Run::of(folder.path(), &["--report", &format!("json={}", file.display())]);
    assert_eq!(run.code, 0, "{}", run.text);
    let report: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(report["checkpoints"].to_string().contains("\"case\":\"pass 1\""));
}
