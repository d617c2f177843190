//! Known names of sites: Hugging Face's module paths, and the names of llama.cpp, of Candle's examples and of
//! Meta's code.

use super::form::{AxisOrder, Form};
use crate::probe::{Kind, Site};

/// Names inside a layer and the kind of site they name; `{N}` stands for the layer's number.
const LAYERED: &[(&str, Kind)] = &[
    // Hugging Face: a module's output is the output of its last part.
    ("model.layers.{N}.self_attn", Kind::OProj),
    ("model.layers.{N}.mlp", Kind::Down),
    // candle-transformers' llama
    ("blocks.{N}.rms_1", Kind::InputNorm),
    ("blocks.{N}.attn.q_proj", Kind::QProj),
    ("blocks.{N}.attn.k_proj", Kind::KProj),
    ("blocks.{N}.attn.v_proj", Kind::VProj),
    ("blocks.{N}.attn.o_proj", Kind::OProj),
    ("blocks.{N}.attn", Kind::OProj),
    ("blocks.{N}.rms_2", Kind::PostNorm),
    ("blocks.{N}.mlp.c_fc1", Kind::Gate),
    ("blocks.{N}.mlp.c_fc2", Kind::Up),
    ("blocks.{N}.mlp.c_proj", Kind::Down),
    ("blocks.{N}.mlp", Kind::Down),
    ("blocks.{N}", Kind::Block),
    // candle-transformers' quantized_llama, and Meta's code
    ("layers.{N}.attention_norm", Kind::InputNorm),
    ("layers.{N}.attention_wq", Kind::QProj),
    ("layers.{N}.attention_wk", Kind::KProj),
    ("layers.{N}.attention_wv", Kind::VProj),
    ("layers.{N}.attention_wo", Kind::OProj),
    ("layers.{N}.attention.wq", Kind::QProj),
    ("layers.{N}.attention.wk", Kind::KProj),
    ("layers.{N}.attention.wv", Kind::VProj),
    ("layers.{N}.attention.wo", Kind::OProj),
    ("layers.{N}.ffn_norm", Kind::PostNorm),
    ("layers.{N}.feed_forward_w1", Kind::Gate),
    ("layers.{N}.feed_forward_w2", Kind::Down),
    ("layers.{N}.feed_forward_w3", Kind::Up),
    ("layers.{N}.feed_forward.w1", Kind::Gate),
    ("layers.{N}.feed_forward.w2", Kind::Down),
    ("layers.{N}.feed_forward.w3", Kind::Up),
    // GGUF's tensor names, for the values computed with those tensors
    ("blk.{N}.attn_norm", Kind::InputNorm),
    ("blk.{N}.attn_q", Kind::QProj),
    ("blk.{N}.attn_k", Kind::KProj),
    ("blk.{N}.attn_v", Kind::VProj),
    ("blk.{N}.attn_output", Kind::OProj),
    ("blk.{N}.ffn_norm", Kind::PostNorm),
    ("blk.{N}.ffn_gate", Kind::Gate),
    ("blk.{N}.ffn_up", Kind::Up),
    ("blk.{N}.ffn_down", Kind::Down),
];

/// The same for names outside the layers.
const OUTSIDE: &[(&str, Kind)] = &[
    ("logits", Kind::Logits),
    ("wte", Kind::Embed),
    ("ln_f", Kind::FinalNorm),
    ("tok_embeddings", Kind::Embed),
    ("output", Kind::Logits),
    ("token_embd", Kind::Embed),
    ("output_norm", Kind::FinalNorm),
    ("inp_embd", Kind::Embed),
    ("embd", Kind::Embed),
    ("result_norm", Kind::FinalNorm),
    ("result_output", Kind::Logits),
];

/// llama.cpp's names, without the layer's number. `Qcur` and `Kcur` are handled separately, because each
/// names two kinds.
const LLAMA_CPP: &[(&str, Kind)] = &[
    ("attn_norm", Kind::InputNorm),
    ("Vcur", Kind::VProj),
    ("kq_soft_max", Kind::Probs),
    ("kqv_out", Kind::Context),
    ("attn_out", Kind::OProj),
    ("ffn_inp", Kind::PostNormInput),
    ("ffn_norm", Kind::PostNorm),
    ("ffn_gate", Kind::Gate),
    ("ffn_up", Kind::Up),
    ("ffn_swiglu", Kind::Act),
    ("ffn_gate_par", Kind::Act),
    ("ffn_out", Kind::Down),
    ("l_out", Kind::Block),
];

/// The site and form of the array `name` with these `dims`, in a pass over `s` positions; `None` if the name
/// is unknown.
pub(super) fn meaning(name: &str, dims: &[usize], s: usize) -> Option<(Site, Form)> {
    let own = |name: &str| name.parse::<Site>().ok().map(|site| (site, Form::default()));
    // The decoder's own paths, if the hooks were placed below `model.`.
    let below = || (!name.starts_with("model.")).then(|| own(&format!("model.{name}"))).flatten();
    own(name).or_else(below).or_else(|| by_known_name(name)).or_else(|| llama_cpp(name, dims, s))
}

fn by_known_name(name: &str) -> Option<(Site, Form)> {
    let outside = OUTSIDE.iter().find(|(known, _)| *known == name);
    let site = outside.map(|&(_, kind)| Site::model(kind)).or_else(|| {
        LAYERED.iter().find_map(|&(pattern, kind)| Some(Site::layer(layer_of(pattern, name)?, kind)))
    })?;
    // `output` and similar names are used by llama.cpp too.
    let form = if GGML.contains(&name) {
        Form { order: AxisOrder::Ggml, interleaved: None }
    } else {
        Form::default()
    };
    Some((site, form))
}

/// Names outside the layers that only llama.cpp uses.
const GGML: [&str; 4] = ["inp_embd", "embd", "result_norm", "result_output"];

/// The number at `{N}` if `name` matches `pattern`.
pub(super) fn layer_of(pattern: &str, name: &str) -> Option<usize> {
    let (before, behind) = pattern.split_once("{N}")?;
    let number = name.strip_prefix(before)?.strip_suffix(behind)?;
    let digits = number.bytes().all(|b| b.is_ascii_digit()) && number.len() <= 5;
    number.parse::<u16>().ok().filter(|_| digits).map(usize::from)
}

/// Parses `Qcur-0`; the text after the number is ggml's operation: `Qcur-0 (ROPE)`, `Qcur-0.MUL_MAT`.
fn llama_cpp(name: &str, dims: &[usize], s: usize) -> Option<(Site, Form)> {
    let (stem, rest) = name.rsplit_once('-')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let layer = rest[..digits].parse::<u16>().ok()?;
    let op = rest[digits..].trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let kind = match (stem, op) {
        ("Qcur", "ROPE") => Kind::QRope,
        ("Kcur", "ROPE") => Kind::KRope,
        ("Qcur", "MUL_MAT" | "ADD") => Kind::QProj,
        ("Kcur", "MUL_MAT" | "ADD") => Kind::KProj,
        // Without an operation: if heads are a separate axis, the tensor has been rotated.
        ("Qcur", "") => {
            if has_heads(dims, s) {
                Kind::QRope
            } else {
                Kind::QProj
            }
        }
        ("Kcur", "") => {
            if has_heads(dims, s) {
                Kind::KRope
            } else {
                Kind::KProj
            }
        }
        _ => LLAMA_CPP.iter().find(|(known, _)| *known == stem)?.1,
    };
    Some((Site { layer: Some(layer), kind }, Form { order: AxisOrder::Ggml, interleaved: None }))
}

/// Is there a heads axis besides positions and width? ggml's four dimensions are padded with ones at either
/// end.
fn has_heads(dims: &[usize], s: usize) -> bool {
    let real: Vec<usize> = dims.iter().copied().filter(|&n| n != 1).collect();
    real.len() > 2 || (real.len() == 2 && !real.contains(&s))
}

/// Every known name of a site in layers up to `layers`, used to suggest the intended name.
pub(super) fn spellings(layers: usize) -> Vec<String> {
    let sites = Kind::ALL.iter().flat_map(|&kind| {
        if kind.in_layer() {
            (0..layers).map(|n| Site::layer(n, kind).to_string()).collect()
        } else {
            vec![kind.name().to_owned()]
        }
    });
    let patterns = LAYERED.iter().map(|(pattern, _)| pattern);
    let layered = patterns.flat_map(|p| (0..layers).map(|n| p.replace("{N}", &n.to_string())));
    let stems = LLAMA_CPP.iter().map(|(stem, _)| *stem).chain(["Qcur", "Kcur"]);
    let ggml = stems.flat_map(|stem| (0..layers).map(move |n| format!("{stem}-{n}")));
    let others = ["input_ids", "position_ids", "attention_mask"].map(str::to_owned);
    let outside = OUTSIDE.iter().map(|(name, _)| (*name).to_owned());
    sites.chain(layered).chain(ggml).chain(others).chain(outside).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::own("model.layers.3.mlp.act", &[1, 13, 256], "model.layers.3.mlp.act")]
    #[case::below_model("layers.3.mlp.up_proj", &[1, 13, 256], "model.layers.3.mlp.up_proj")]
    #[case::module("model.layers.3.self_attn", &[1, 13, 128], "model.layers.3.self_attn.o_proj")]
    #[case::candle("blocks.2.mlp.c_fc1", &[1, 13, 256], "model.layers.2.mlp.gate_proj")]
    #[case::candle_block("blocks.2", &[1, 13, 128], "model.layers.2")]
    #[case::meta("layers.0.feed_forward.w2", &[1, 13, 128], "model.layers.0.mlp.down_proj")]
    #[case::gguf("blk.11.attn_output", &[1, 13, 128], "model.layers.11.self_attn.o_proj")]
    #[case::llama_cpp("attn_norm-0", &[13, 128], "model.layers.0.input_layernorm")]
    #[case::by_op("Qcur-0 (MUL_MAT)", &[1, 1, 13, 192], "model.layers.0.self_attn.q_proj")]
    #[case::by_op_too("Qcur-0.ROPE", &[1, 13, 6, 32], "model.layers.0.self_attn.q_rope")]
    #[case::by_rank("Kcur-1", &[1, 1, 13, 64], "model.layers.1.self_attn.k_proj")]
    #[case::by_rank_too("Kcur-1", &[1, 13, 2, 32], "model.layers.1.self_attn.k_rope")]
    #[case::end("result_output", &[13, 512], "lm_head")]
    fn a_known_name_is_mapped_to_its_site(#[case] name: &str, #[case] dims: &[usize], #[case] site: &str) {
        assert_eq!(meaning(name, dims, 13).map(|(site, _)| site.to_string()).as_deref(), Some(site));
    }

    #[rstest]
    #[case("model.layers.3.mlp.acts")]
    #[case("blocks.x.rms_1")]
    #[case("kq-0")]
    #[case("layers.70000.ffn_norm")]
    #[case("")]
    fn an_unknown_name_has_no_site(#[case] name: &str) {
        assert_eq!(meaning(name, &[1, 13, 128], 13), None);
    }
}
