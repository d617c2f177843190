//! The whole forward pass, top to bottom.

use super::{
    Heads, Matrix, Pairing, Rows, Tokens, context, frequency, gated, linear, residual, rms_norm, rotate,
    scores, silu, softmax, vector,
};
use crate::Result;
use crate::probe::{Kind, Site};
use crate::weights::Weights;

/// Runs `tokens` through the Llama of `weights` and shows every site to `see`, as `[tokens, …]`.
///
/// Weights are in Hugging Face's layout whatever their file has, and are read tensor by tensor, so
/// that no more than one matrix is in memory at once.
///
/// # Errors
/// A tensor that is missing, and whatever `see` gives.
pub fn forward(
    weights: &Weights,
    tokens: &Tokens,
    see: &mut dyn FnMut(Site, &Rows) -> Result<()>,
) -> Result<()> {
    let config = weights.config();
    let embeddings = Matrix::read(weights, "model.embed_tokens.weight")?; // [vocab, hidden]
    let mut x = embeddings.rows(&tokens.ids)?; // [tokens, hidden]
    drop(embeddings);
    see(Site::model(Kind::Embed), &x)?;
    for layer in 0..config.num_hidden_layers {
        x = block(weights, layer, x, tokens, see)?; // [tokens, hidden]
    }
    let weight = vector(weights, "model.norm.weight")?; // [hidden]
    let x = rms_norm(&x, &weight, config.rms_norm_eps); // [tokens, hidden]
    see(Site::model(Kind::FinalNorm), &x)?;
    let head = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let logits = linear(&x, &Matrix::read(weights, head)?)?; // [tokens, vocab]
    see(Site::model(Kind::Logits), &logits)
}

/// One decoder layer, `[tokens, hidden]` → the same.
fn block(
    weights: &Weights,
    layer: usize,
    x: Rows,
    tokens: &Tokens,
    see: &mut dyn FnMut(Site, &Rows) -> Result<()>,
) -> Result<Rows> {
    let config = weights.config();
    let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
    let project = |part: &str, x: &Rows| linear(x, &Matrix::read(weights, &name(part))?);
    let mut see = |kind: Kind, rows: Rows| see(Site::layer(layer, kind), &rows).map(|()| rows);

    let weight = vector(weights, &name("input_layernorm"))?; // [hidden]
    let normed = see(Kind::InputNorm, rms_norm(&x, &weight, config.rms_norm_eps))?; // [tokens, hidden]
    let q = see(Kind::QProj, project("self_attn.q_proj", &normed)?)?; // [tokens, heads * head_dim]
    let k = see(Kind::KProj, project("self_attn.k_proj", &normed)?)?; // [tokens, kv_heads * head_dim]
    let v = see(Kind::VProj, project("self_attn.v_proj", &normed)?)?; // [tokens, kv_heads * head_dim]

    let d = config.head_dim;
    let pairs = Pairing::Halves.pairs(d); // [head_dim/2]
    let turn = |r: usize, i| (tokens.positions[r] as f64 * frequency(config.rope_theta, i, d)).sin_cos();
    let q = see(Kind::QRope, rotate(&q, &pairs, turn))?; // [tokens, heads * head_dim]
    let k = see(Kind::KRope, rotate(&k, &pairs, turn))?; // [tokens, kv_heads * head_dim]

    let heads = Heads::grouped(config.num_attention_heads, config.num_key_value_heads, d);
    let (batch, slots) = (tokens.batch(), tokens.slots());
    let causal = |query: usize, _, slot: usize| slot <= tokens.places[query].1;
    let scores = see(Kind::Scores, scores(&q, &k, &batch, &slots, &heads, causal))?; // [tokens, heads * t]
    let probs = see(Kind::Probs, softmax(&scores, tokens.length))?; // [tokens, heads * t]
    let context = see(Kind::Context, context(&probs, &v, &batch, &slots, &heads))?; // [tokens, heads * head_dim]
    let attended = see(Kind::OProj, project("self_attn.o_proj", &context)?)?; // [tokens, hidden]
    let x = see(Kind::PostNormInput, residual(&x, &attended))?; // [tokens, hidden]

    let weight = vector(weights, &name("post_attention_layernorm"))?; // [hidden]
    let normed = see(Kind::PostNorm, rms_norm(&x, &weight, config.rms_norm_eps))?; // [tokens, hidden]
    let gate = see(Kind::Gate, project("mlp.gate_proj", &normed)?)?; // [tokens, ffn]
    let up = see(Kind::Up, project("mlp.up_proj", &normed)?)?; // [tokens, ffn]
    let act = see(Kind::Act, gated(&gate, &up, silu))?; // [tokens, ffn]
    let down = see(Kind::Down, project("mlp.down_proj", &act)?)?; // [tokens, hidden]
    see(Kind::Block, residual(&x, &down)) // [tokens, hidden]
}
