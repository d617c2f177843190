//! Ports with one mistake that is not in the catalogue. Each is a correct Llama in which one part is
//! replaced. None uses the code that names mistakes.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rbees_check::Result;
use rbees_check::model::{Embedding, Input, Llama, Rope};
use rbees_check::port::{LlamaPort, Port, Traits};
use rbees_check::probe::{Kind, Probe, Site};

/// Makes the wrong port from a correct Llama.
pub type Make = fn(Llama) -> Result<Box<dyn Port>>;

/// The queries are rotated, the keys are not.
pub fn keys_not_rotated(llama: Llama) -> Result<Box<dyn Port>> {
    let rotate: Rotate = |kind, x, once| if kind == Kind::KRope { Ok(x.clone()) } else { once(x) };
    Ok(Box::new(OtherRotation::new(llama, rotate)))
}

/// Queries and keys are rotated twice.
pub fn rotated_twice(llama: Llama) -> Result<Box<dyn Port>> {
    Ok(Box::new(OtherRotation::new(llama, |_, x, once| once(&once(x)?))))
}

/// The frequency of pair i is θ^(−2(i + 1)/head_dim): the exponents start with the second pair's.
pub fn frequencies_one_pair_late(llama: Llama) -> Result<Box<dyn Port>> {
    with_frequencies(llama, |theta, i, half| theta.powf(-(i as f64 + 1.0) / half as f64))
}

/// The frequency of pair i is θ^(−(2i + 1)/head_dim): the exponents are the odd numbers, not the even ones.
pub fn frequencies_half_a_pair_late(llama: Llama) -> Result<Box<dyn Port>> {
    with_frequencies(llama, |theta, i, half| theta.powf(-(i as f64 + 0.5) / half as f64))
}

/// Pair 0 does not rotate. Every other pair has the frequency of the pair before it.
pub fn frequencies_of_the_pair_before(llama: Llama) -> Result<Box<dyn Port>> {
    with_frequencies(llama, |theta, i, half| match i {
        0 => 0.0,
        _ => theta.powf(-(i as f64 - 1.0) / half as f64),
    })
}

/// gate_proj gets rows 0, 2, 4, … of the fused `[gate; up]` matrix and up_proj gets rows 1, 3, 5, …: the
/// split for a file in which rows of gate and up alternate.
pub fn halves_split_at_every_other_row(llama: Llama) -> Result<Box<dyn Port>> {
    with_other_gate_and_up(llama, |gate, up| {
        let fused = Tensor::cat(&[gate, up], 0)?; // [2 * ffn, hidden]
        Ok((every_other(&fused, 0)?, every_other(&fused, 1)?))
    })
}

/// Rows of gate and up alternate in the fused matrix, but it is split into two halves.
pub fn alternating_rows_split_into_halves(llama: Llama) -> Result<Box<dyn Port>> {
    with_other_gate_and_up(llama, |gate, up| {
        let (ffn, hidden) = gate.dims2()?;
        let fused = Tensor::stack(&[gate, up], 1)?.reshape((2 * ffn, hidden))?; // [2 * ffn, hidden]
        Ok((fused.narrow(0, 0, ffn)?, fused.narrow(0, ffn, ffn)?))
    })
}

/// The embedding is multiplied by √hidden, as in Gemma, and the port does not tap the embedding.
pub fn hidden_embedding_scaled(mut llama: Llama) -> Result<Box<dyn Port>> {
    let hidden = llama.config.hidden_size;
    let scaled = (llama.embed_tokens.widened()? * (hidden as f64).sqrt())?; // [vocab, hidden]
    llama.embed_tokens = Embedding::floats(scaled)?;
    Ok(Box::new(WithoutEmbedding(LlamaPort::new(llama))))
}

/// Sets the frequencies. `of` maps θ, the pair and the number of pairs to radians per position.
fn with_frequencies(mut llama: Llama, of: fn(f64, usize, usize) -> f64) -> Result<Box<dyn Port>> {
    let (theta, half) = (llama.config.rope_theta, llama.config.head_dim / 2);
    llama.rope.frequencies = (0..half).map(|i| of(theta, i, half)).collect();
    Ok(Box::new(LlamaPort::new(llama)))
}

/// Replaces the weights of gate_proj and up_proj, `[ffn, hidden]`. `of` maps the correct weights to the
/// port's.
fn with_other_gate_and_up(
    mut llama: Llama,
    of: fn(&Tensor, &Tensor) -> Result<(Tensor, Tensor)>,
) -> Result<Box<dyn Port>> {
    for block in &mut llama.layers {
        let mlp = &mut block.mlp;
        let (gate, up) = of(&mlp.gate_proj.widened()?, &mlp.up_proj.widened()?)?;
        mlp.gate_proj = mlp.gate_proj.with_weight(gate.contiguous()?);
        mlp.up_proj = mlp.up_proj.with_weight(up.contiguous()?);
    }
    Ok(Box::new(LlamaPort::new(llama)))
}

/// Rows `first`, `first` + 2, `first` + 4, … of a matrix.
fn every_other(matrix: &Tensor, first: u32) -> Result<Tensor> {
    let rows: Vec<u32> = (first..matrix.dim(0)? as u32).step_by(2).collect();
    Ok(matrix.index_select(&Tensor::new(rows, matrix.device())?, 0)?)
}

/// The correct rotation of `[b, heads, s, head_dim]`.
type Once<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

/// Computes the port's rotated queries or keys from the projected ones, `[b, heads, s, head_dim]`.
type Rotate = fn(Kind, &Tensor, Once<'_>) -> Result<Tensor>;

/// A correct Llama in which `rotate` computes the rotated queries and keys.
struct OtherRotation {
    port: LlamaPort,
    rope: Rope,
    head_dim: usize,
    rotate: Rotate,
}

impl OtherRotation {
    fn new(llama: Llama, rotate: Rotate) -> Self {
        let (rope, head_dim) = (llama.rope.clone(), llama.config.head_dim);
        Self { port: LlamaPort::new(llama), rope, head_dim, rotate }
    }
}

impl Port for OtherRotation {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        self.port.begin();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let Self { port, rope, head_dim, rotate } = self;
        let projected = BTreeMap::new();
        let positions = &input.positions;
        port.forward(input, &mut Rotating { probe, rope, positions, head_dim: *head_dim, rotate, projected })
    }
}

/// Wraps the judge's probe and replaces the rotated queries and keys.
struct Rotating<'a> {
    probe: &'a mut dyn Probe,
    rope: &'a Rope,
    positions: &'a [Vec<usize>],
    head_dim: usize,
    rotate: &'a Rotate,
    /// The last queries and keys before rotation that the model continued with, `[b, s, heads * head_dim]`.
    projected: BTreeMap<Kind, Tensor>,
}

impl Probe for Rotating<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.probe.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let tensor = match site.kind {
            Kind::QRope => self.rotated(site.kind, Kind::QProj)?,
            Kind::KRope => self.rotated(site.kind, Kind::KProj)?,
            _ => tensor,
        };
        let continued = self.probe.tap(site, tensor)?;
        if matches!(site.kind, Kind::QProj | Kind::KProj) {
            self.projected.insert(site.kind, continued.clone());
        }
        Ok(continued)
    }
}

impl Rotating<'_> {
    /// The port's rotated queries or keys, `[b, heads, s, head_dim]`.
    fn rotated(&self, kind: Kind, from: Kind) -> Result<Tensor> {
        let x = &self.projected[&from]; // [b, s, heads * head_dim]
        let (b, s, width) = x.dims3()?;
        let x = x.reshape((b, s, width / self.head_dim, self.head_dim))?.transpose(1, 2)?.contiguous()?;
        let rotation = self.rope.at(self.positions, x.device())?;
        (self.rotate)(kind, &x, &|x| rotation.apply(x))
    }
}

/// A port that taps every site except the embedding.
struct WithoutEmbedding(LlamaPort);

impl Port for WithoutEmbedding {
    fn traits(&self) -> Traits {
        let traits = self.0.traits();
        let hides: &[Kind] = match traits.hides {
            [] => &[Kind::Embed],
            _ => &[Kind::Embed, Kind::Scores, Kind::Probs],
        };
        Traits { hides, ..traits }
    }

    fn begin(&mut self) {
        self.0.begin();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        self.0.forward(input, &mut ButEmbedding(probe))
    }
}

struct ButEmbedding<'a>(&'a mut dyn Probe);

impl Probe for ButEmbedding<'_> {
    fn wants(&self, kind: Kind) -> bool {
        kind != Kind::Embed && self.0.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        if site.kind == Kind::Embed { Ok(tensor) } else { self.0.tap(site, tensor) }
    }
}
