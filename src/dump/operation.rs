//! One operation of the forward pass, computed by the oracle from whatever stands at its inputs.

use candle_core::Tensor;

use super::Against;
use super::blocks::{self, Blocks};
use super::habit::Habit;
use crate::Result;
use crate::oracle::{
    Heads, Matrix, Pairing, Rows, Slots, Tokens, context, frequency, gated, linear, mean_square, residual,
    rms_norm, rotate, scores, silu, softmax, vector,
};
use crate::probe::{Arithmetic, Kind, Site};
use crate::recording::Recording;
use crate::reference::Place;
use crate::weights::{Config, Weights};

/// Rows at some places.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub rows: Rows,
    /// Where each stands, in order.
    pub places: Vec<Place>,
}

/// What operations are computed with.
#[derive(Clone)]
pub(super) struct Machine<'a> {
    weights: Option<&'a Weights>,
    pub config: Option<&'a Config>,
    arithmetic: Arithmetic,
    /// Every token of the pass.
    pub tokens: Tokens,
    habit: Option<Habit>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(dump: &Recording, against: &Against<'a>) -> Self {
        let tokens = Tokens::of(&dump.input.ids, &dump.input.positions, dump.places());
        let Against { weights, config, arithmetic, .. } = *against;
        Self { weights, config, arithmetic, tokens, habit: None }
    }

    /// The same, of a port that does this otherwise than Llama.
    pub(super) fn with_habit(&self, habit: Habit) -> Self {
        Self { habit: Some(habit), ..self.clone() }
    }

    /// What stands at `site`, given what stands at its inputs, in their order; nothing where weights or a
    /// config are needed that are not there.
    ///
    /// # Errors
    /// A weight that cannot be read, an id that the embedding does not have.
    pub(super) fn compute(&self, site: Site, inputs: &[&Placed]) -> Result<Option<Placed>> {
        let rows = match (site.kind, inputs) {
            (Kind::Embed, []) => self.embedding()?,
            (Kind::InputNorm | Kind::PostNorm | Kind::FinalNorm, [x]) => self.norm(site, x)?,
            (Kind::QRope | Kind::KRope, [x]) => self.config.map(|config| self.rotated(config, x)),
            (Kind::Scores, [q, k]) => self.config.map(|config| self.scores(config, q, k)),
            (Kind::Probs, [x]) => Some(match self.habit {
                Some(Habit::Softmax(half)) => half.of(&x.rows, self.tokens.length),
                _ => softmax(&x.rows, self.tokens.length),
            }),
            (Kind::Context, [probs, v]) => self.config.map(|config| self.context(config, probs, v)),
            (Kind::PostNormInput | Kind::Block, [x, branch]) => {
                together(x, branch).then(|| residual(&x.rows, &branch.rows))
            }
            (Kind::Act, [gate, up]) => {
                let (gate, up) = if self.habit == Some(Habit::Swapped) { (up, gate) } else { (gate, up) };
                together(gate, up).then(|| gated(&gate.rows, &up.rows, silu))
            }
            (kind, [x]) if kind.is_product() => self.product(site, x)?,
            _ => None,
        };
        let places = inputs.first().map_or_else(|| self.tokens.places.clone(), |x| x.places.clone());
        Ok(rows.map(|rows| Placed { rows, places }))
    }

    /// The weights, if `name` is among them: those of a bundle are a part.
    fn with(&self, name: &str) -> Option<&'a Weights> {
        self.weights.filter(|weights| weights.shape(name).is_some())
    }

    fn embedding(&self) -> Result<Option<Rows>> {
        const NAME: &str = "model.embed_tokens.weight";
        let Some(weights) = self.with(NAME) else { return Ok(None) };
        Matrix::read(weights, NAME)?.rows(&self.tokens.ids).map(Some)
    }

    /// The weight of the norm at `site` and its ε.
    pub(super) fn norm_weight(&self, site: Site) -> Result<Option<(Vec<f64>, f64)>> {
        let name = format!("{site}.weight");
        let Some(weights) = self.with(&name) else { return Ok(None) };
        Ok(Some((vector(weights, &name)?, weights.config().rms_norm_eps)))
    }

    fn norm(&self, site: Site, x: &Placed) -> Result<Option<Rows>> {
        let weight = self.norm_weight(site)?.filter(|(weight, _)| weight.len() == x.rows.width);
        Ok(weight.map(|(mut weight, eps)| match self.habit {
            Some(Habit::Eps(other)) => rms_norm(&x.rows, &weight, other),
            Some(Habit::EpsOutside) => {
                let root: Vec<f64> = x.rows.iter().map(|row| mean_square(row).sqrt() + eps).collect(); // [rows]
                Rows::from_fn(x.rows.len(), x.rows.width, |r, j| x.rows.row(r)[j] / root[r] * weight[j])
            }
            Some(Habit::Plus(more)) => {
                weight.iter_mut().for_each(|w| *w += more);
                rms_norm(&x.rows, &weight, eps)
            }
            _ => rms_norm(&x.rows, &weight, eps),
        }))
    }

    /// The weights and the name of the matrix that is multiplied with at `site`.
    fn matrix(&self, site: Site) -> Option<(&'a Weights, String)> {
        let name = matrix_of(site, self.weights?.config());
        Some((self.with(&name)?, name))
    }

    /// The matrix that is multiplied with at `site`, `[out, in]` in float32.
    pub(super) fn weight(&self, site: Site) -> Result<Option<Tensor>> {
        self.matrix(site).map(|(weights, name)| weights.canonical(&name)).transpose()
    }

    /// The blocks that are multiplied with at `site`, where activations are rounded.
    pub(super) fn blocks(&self, site: Site) -> Result<Option<Blocks>> {
        self.matrix(site).map_or(Ok(None), |(weights, name)| Blocks::of(weights, &name, self.arithmetic))
    }

    fn product(&self, site: Site, x: &Placed) -> Result<Option<Rows>> {
        let Some((weights, name)) = self.matrix(site) else { return Ok(None) };
        let matrix = self.as_multiplied(site, Matrix::read(weights, &name)?)?;
        if matrix.shape().1 != x.rows.width {
            return Ok(None);
        }
        Ok(Some(match self.blocks(site)? {
            None => linear(&x.rows, &matrix)?,
            Some(blocks) => blocks::linear(&blocks, &x.rows, &matrix)?,
        }))
    }

    fn as_multiplied(&self, site: Site, matrix: Matrix) -> Result<Matrix> {
        match self.habit {
            Some(Habit::Transposed(kind)) if kind == site.kind => match matrix.shape() {
                (out, width) if out == width => matrix.transposed(),
                _ => matrix.read_as_transposed(),
            },
            _ => Ok(matrix),
        }
    }

    fn rotated(&self, config: &Config, x: &Placed) -> Rows {
        let (d, tokens) = (config.head_dim, self.tokens.at(&x.places));
        let (mut theta, mut shift, mut pairs) = (config.rope_theta, 0.0, Pairing::Halves.pairs(d));
        match &self.habit {
            Some(Habit::Theta(other)) => theta = *other,
            Some(Habit::Shift(by)) => shift = *by,
            Some(Habit::Pairs(other)) => pairs.clone_from(other),
            _ => {}
        }
        let turn = |r: usize, i| ((tokens.positions[r] as f64 + shift) * frequency(theta, i, d)).sin_cos();
        rotate(&x.rows, &pairs, turn)
    }

    fn scores(&self, config: &Config, q: &Placed, k: &Placed) -> Rows {
        let batch: Vec<usize> = q.places.iter().map(|&(b, _)| b).collect();
        let future = self.habit == Some(Habit::Future);
        let seen = |query: usize, _, slot: usize| future || slot <= q.places[query].1;
        scores(&q.rows, &k.rows, &batch, &self.slots(k), &self.heads(config), seen)
    }

    fn context(&self, config: &Config, probs: &Placed, v: &Placed) -> Rows {
        let batch: Vec<usize> = probs.places.iter().map(|&(b, _)| b).collect();
        context(&probs.rows, &v.rows, &batch, &self.slots(v), &self.heads(config))
    }

    fn heads(&self, config: &Config) -> Heads {
        let heads = Heads::grouped(config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        match &self.habit {
            Some(Habit::LooksAt(map)) => Heads { looks_at: map.clone(), ..heads },
            Some(Habit::Scale(scale)) => Heads { scale: *scale, ..heads },
            _ => heads,
        }
    }

    fn slots(&self, keys: &Placed) -> Slots {
        Slots::new(&keys.places, self.tokens.length)
    }
}

/// The name of the matrix that is multiplied with at `site`.
fn matrix_of(site: Site, config: &Config) -> String {
    match site.kind {
        Kind::Logits if config.tie_word_embeddings => "model.embed_tokens.weight".into(),
        _ => format!("{site}.weight"),
    }
}

/// Do both hold the same rows of the same width?
fn together(a: &Placed, b: &Placed) -> bool {
    a.places == b.places && a.rows.width == b.rows.width
}
