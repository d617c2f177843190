//! The tensor names and layouts that ports use: those recognised automatically, and those given by `--map`.

mod program;
mod recorded;

use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use program::{home, rbees_in, stderr, stdout};
use recorded::{Arrays, short, write};
use rstest::rstest;
use tempfile::tempdir;

fn printed(dump: &Path, more: &[&str]) -> (String, i32) {
    let args = [&["run", "--dump", dump.to_str().unwrap()], more].concat();
    let output = rbees_in(Path::new("/"), &home(), &args).output().unwrap();
    (stdout(&output) + &stderr(&output), output.status.code().unwrap())
}

fn is_complete_and_passes((text, code): (String, i32), sites: &str) {
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("coverage: {sites} sites")), "{text}");
}

/// The arrays under other names. An array for which `name` returns `None` is left out.
fn renamed(name: impl Fn(&str) -> Option<String>) -> Arrays {
    let all = short().into_iter();
    all.filter_map(|(site, tensor)| Some((if site == "input_ids" { site } else { name(&site)? }, tensor)))
        .collect()
}

/// `model.layers.2.mlp.act` → 2 and `mlp.act`.
fn split(site: &str) -> Option<(&str, &str)> {
    let rest = site.strip_prefix("model.layers.")?;
    Some(rest.split_once('.').unwrap_or((rest, "")))
}

fn one_of<'a>(table: &[(&str, &'a str)], kind: &str) -> Option<&'a str> {
    table.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name)
}

#[test]
fn the_names_of_candle_transformers_llama_are_recognised() {
    const KINDS: [(&str, &str); 10] = [
        ("input_layernorm", ".rms_1"),
        ("self_attn.q_proj", ".attn.q_proj"),
        ("self_attn.k_proj", ".attn.k_proj"),
        ("self_attn.v_proj", ".attn.v_proj"),
        ("self_attn.o_proj", ".attn"),
        ("post_attention_layernorm", ".rms_2"),
        ("mlp.gate_proj", ".mlp.c_fc1"),
        ("mlp.up_proj", ".mlp.c_fc2"),
        ("mlp.down_proj", ".mlp"),
        ("", ""),
    ];
    const ENDS: [(&str, &str); 3] =
        [("model.embed_tokens", "wte"), ("model.norm", "ln_f"), ("lm_head", "logits")];
    let arrays = renamed(|site| match split(site) {
        Some((layer, kind)) => Some(format!("blocks.{layer}{}", one_of(&KINDS, kind)?)),
        None => one_of(&ENDS, site).map(str::to_owned),
    });
    let folder = tempdir().unwrap();
    is_complete_and_passes(printed(&write(folder.path(), &arrays), &[]), "43 of 71");
}

/// llama.cpp's name of each kind, with ggml's operation if the name is used twice.
const GGML: [(&str, &str, &str); 17] = [
    ("input_layernorm", "attn_norm", ""),
    ("self_attn.q_proj", "Qcur", " (MUL_MAT)"),
    ("self_attn.k_proj", "Kcur", " (MUL_MAT)"),
    ("self_attn.v_proj", "Vcur", " (MUL_MAT)"),
    ("self_attn.q_rope", "Qcur", " (ROPE)"),
    ("self_attn.k_rope", "Kcur", " (ROPE)"),
    ("self_attn.probs", "kq_soft_max", ""),
    ("self_attn.context", "kqv_out", ""),
    ("self_attn.o_proj", "attn_out", ""),
    ("post_attention_layernorm.input", "ffn_inp", ""),
    ("post_attention_layernorm", "ffn_norm", ""),
    ("mlp.gate_proj", "ffn_gate", ""),
    ("mlp.up_proj", "ffn_up", ""),
    ("mlp.act", "ffn_swiglu", ""),
    ("mlp.down_proj", "ffn_out", ""),
    ("", "l_out", ""),
    ("lm_head", "result_output", ""),
];

/// The tensor in ggml's layout: four dimensions, positions before heads, q and k in neighbouring pairs.
fn as_ggml(site: &str, tensor: &Tensor, reversed: bool) -> Tensor {
    let heads = site.ends_with("_rope");
    let tensor = if heads { tensor.transpose(1, 2).unwrap().contiguous().unwrap() } else { tensor.clone() };
    let turned = heads || site.ends_with("q_proj") || site.ends_with("k_proj");
    let width = tensor.dims().last().copied().unwrap();
    let pairs: Vec<u32> = (0..width as u32).map(|j| j / 32 * 32 + j % 2 * 16 + j % 32 / 2).collect();
    let tensor = if turned {
        tensor.index_select(&Tensor::new(pairs, &Device::Cpu).unwrap(), tensor.rank() - 1).unwrap()
    } else {
        tensor
    };
    let mut dims = [vec![1; 4 - tensor.rank()], tensor.dims().to_vec()].concat();
    if reversed {
        dims.reverse();
    }
    tensor.reshape(dims).unwrap()
}

#[rstest]
fn the_names_and_layouts_of_llama_cpp_are_recognised(
    #[values(false, true)] reversed: bool,
    #[values(false, true)] ops: bool,
) {
    let mut arrays = Arrays::new();
    for (site, tensor) in short() {
        let named = |kind: &str| GGML.iter().find(|(known, ..)| *known == kind);
        let name = match split(&site) {
            None if site == "input_ids" => Some(site.clone()),
            None => named(&site).map(|(_, name, _)| (*name).to_owned()),
            // Without the operation, the name refers to one tensor only: the rotated one.
            Some((_, "self_attn.q_proj" | "self_attn.k_proj")) if !ops => None,
            Some((layer, kind)) => {
                named(kind).map(|(_, name, op)| format!("{name}-{layer}{}", if ops { op } else { "" }))
            }
        };
        let Some(name) = name else { continue };
        let tensor = if site == "input_ids" { tensor } else { as_ggml(&site, &tensor, reversed) };
        arrays.insert(name, tensor);
    }
    let folder = tempdir().unwrap();
    let (sites, dump) = (if ops { "65 of 71" } else { "57 of 71" }, write(folder.path(), &arrays));
    is_complete_and_passes(printed(&dump, &[]), sites);
}

/// Axes are given by a word or by letters.
#[rstest]
#[case("seq-first", &[1, 13, 6, 32])]
#[case("b s h d", &[1, 13, 6, 32])]
#[case("b s w", &[1, 13, 192])]
#[case("s h d", &[13, 6, 32])]
fn a_map_file_declares_custom_names_and_axes(#[case] layout: &str, #[case] dims: &[usize]) {
    let mut arrays = renamed(|site| match split(site) {
        Some((layer, kind)) => Some(format!("stage/{layer}/{}", kind.replace('.', "_"))),
        None => Some(site.to_owned()),
    });
    let first = arrays["stage/0/self_attn_q_rope"].transpose(1, 2).unwrap().contiguous().unwrap();
    let first = first.reshape(dims).unwrap();
    arrays.retain(|name, _| !name.ends_with("q_rope"));
    arrays.insert("stage/0/self_attn_q_rope".into(), first);
    arrays.insert("scratch".into(), arrays["lm_head"].clone());
    let folder = tempdir().unwrap();
    let dump = write(folder.path(), &arrays);
    let (text, code) = printed(&dump, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("66 arrays are left out, because their names are unknown: "), "{text}");
    let kinds = short().into_keys().filter_map(|site| Some(split(&site)?.1.to_owned()));
    let mut lines: Vec<String> = kinds
        .map(|kind| {
            let site = if kind.is_empty() { String::new() } else { format!(".{kind}") };
            format!("\"stage/{{N}}/{}\" = \"model.layers.{{N}}{site}\"", kind.replace('.', "_"))
        })
        .collect();
    lines.sort();
    lines.dedup();
    let map = folder.path().join("names.toml");
    let layout = format!("[layout]\n\"self_attn.q_rope\" = \"{layout}\"\n");
    fs::write(&map, format!("[names]\nscratch = \"\"\n{}\n{layout}", lines.join("\n"))).unwrap();
    is_complete_and_passes(printed(&dump, &["--map", map.to_str().unwrap()]), "68 of 71");
}

#[rstest]
#[case("[names]\na = \"model.layers.0.mpl\"", "`model.layers.0.mpl` is not a site")]
#[case("[names]\na = \"model.layers.{N}.mlp.act\"", "{N} on one side only")]
#[case("[layout]\n\"mlp.act\" = \"sideways\"", "mlp.act: `sideways` is not a layout")]
#[case("[layout]\n\"mlp.act\" = \"b h s t\"", "mlp.act: `b h s t` is not a layout")]
#[case("[layout]\nact = \"reversed\"", "`act` is not a kind of site")]
#[case(
    "[names]\na = [\"model.layers.0.mlp.act\", \"lm_head\"]",
    "`a`: these sites are not side by side in one array"
)]
#[case("[layout]\n\"mlp.act\" = \"(s b w\"", "mlp.act: `(s b w` is not a layout")]
#[case("[nmaes]", "unknown field `nmaes`")]
fn an_invalid_map_file_is_refused(#[case] map: &str, #[case] why: &str) {
    let folder = tempdir().unwrap();
    let (dump, file) = (write(folder.path(), &short()), folder.path().join("names.toml"));
    fs::write(&file, map).unwrap();
    let (text, code) = printed(&dump, &["--map", file.to_str().unwrap()]);
    assert_eq!(code, 2, "{text}");
    assert!(text.starts_with(&format!("error: {}: ", file.display())) && text.contains(why), "{text}");
}
