//! What is known of a site that differs: the port's rows, truth at the same rows, and truth at all
//! that it is computed from.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::DType;
use half::{bf16, f16};

use crate::Result;
use crate::compare::{Budget, Noise, Scale};
use crate::oracle::{Rows, Slots, Tokens};
use crate::probe::{Kind, Layout, Site};
use crate::weights::{Config, Weights};

/// A red site and everything around it.
pub struct Evidence<'a> {
    /// The site, and what is known of the port there.
    pub red: Red<'a>,
    /// The judged rows: where they stand and their positions.
    pub tokens: Tokens,
    /// What the port computed, `[rows, width]`. What masks bar is −inf.
    pub got: Rows,
    /// What it is held against: truth, or for a law the port's own prefill.
    pub want: Rows,
    /// Measured noise of each row.
    pub noise: Vec<Noise>,
    /// Truth at any site, with the places that its rows stand at. Keys and values of padding, where
    /// they are known, are the port's own.
    pub truth: &'a dyn Fn(Site) -> Option<Stored>,
}

/// A red site, but for its rows.
#[derive(Clone)]
pub struct Red<'a> {
    /// The site.
    pub site: Site,
    /// The weights, and the config that belongs to them.
    pub weights: &'a Weights,
    /// What the port computes in.
    pub dtype: DType,
    /// How the port's tensor lies at this site. Rows of evidence are in the reference's order already.
    pub layout: Layout,
    /// Kinds that the port's path never makes a tensor of.
    pub hides: &'a [Kind],
    /// Every real token of the case.
    pub all: Tokens,
    /// How many times the noise is allowed.
    pub factor: f64,
    /// The slots that this call fed; keys are visible up to its end.
    pub window: Range<usize>,
    /// Does the same kind of site in layer 0 agree?
    pub first_layer_agrees: bool,
}

/// Stored truth, and of keys and values the port's own where the place is padding.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its rows.
    pub rows: Rows,
    /// Batch row and slot of each.
    pub places: Vec<(usize, usize)>,
}

/// What one row of it should be.
pub struct Wanted<'a> {
    /// Batch row and slot.
    pub place: (usize, usize),
    /// Its values.
    pub row: Cow<'a, [f64]>,
    /// How honest arithmetic errs there.
    pub noise: Noise,
}

impl<'a> Evidence<'a> {
    /// From the rows that say anything: those that are not all zeros, and whose noise is under their scale. `got`
    /// gives what the port computed at some places. None where no row says anything, or the port's tensor has
    /// other axes.
    ///
    /// # Errors
    /// Those of `got`.
    pub fn of(
        red: Red<'a>,
        wanted: impl Iterator<Item = Wanted<'a>>,
        got: impl FnOnce(&[(usize, usize)]) -> Result<Option<Rows>>,
        truth: &'a dyn Fn(Site) -> Option<Stored>,
    ) -> Result<Option<Self>> {
        const NOTHING: Scale = Scale { max: 0.0, rms: 0.0 };
        let says =
            |wanted: &Wanted<'_>| wanted.noise.max < 1.0 && Scale::of(wanted.row.iter().copied()) != NOTHING;
        let wanted: Vec<Wanted<'_>> = wanted.filter(says).collect();
        let Some(width) = wanted.first().map(|first| first.row.len()) else { return Ok(None) };
        let places: Vec<(usize, usize)> = wanted.iter().map(|wanted| wanted.place).collect();
        let Some(got) = got(&places)? else { return Ok(None) };
        Ok(Some(Self {
            tokens: red.all.at(&places),
            noise: wanted.iter().map(|wanted| wanted.noise).collect(),
            want: Rows::new(width, wanted.iter().flat_map(|wanted| wanted.row.to_vec()).collect()),
            got,
            red,
            truth,
        }))
    }
}

impl Evidence<'_> {
    /// The config.
    pub fn config(&self) -> &Config {
        self.red.weights.config()
    }

    /// The site of `kind` in the same layer, or outside the layers.
    pub fn beside(&self, kind: Kind) -> Site {
        Site { layer: if kind.in_layer() { self.red.site.layer } else { None }, kind }
    }

    /// Truth at `site`, at the judged rows, as the port was fed it: rounded to its dtype.
    pub fn fed(&self, site: Site) -> Option<Rows> {
        let stored = (self.truth)(site)?;
        let mut values = Vec::with_capacity(self.tokens.places.len() * stored.rows.width);
        for place in &self.tokens.places {
            let r = stored.places.binary_search(place).ok()?;
            values.extend(stored.rows.row(r).iter().map(|&v| round(v, self.red.dtype)));
        }
        let rows = Rows::new(stored.rows.width, values);
        Some(if site.kind.over_keys() { self.seen(&rows) } else { rows })
    }

    /// Rows over all slots → the same over those that this call sees.
    fn seen(&self, rows: &Rows) -> Rows {
        let (slots, seen) = (self.red.all.length, self.red.window.end.min(self.red.all.length));
        rows.columns(rows.width / slots * seen, |j| j / seen * slots + j % seen)
    }

    /// As [`Evidence::fed`], for the sites that this one is computed from, in order.
    pub fn inputs(&self) -> Option<Vec<Rows>> {
        let sites = self.red.site.inputs(self.config().num_hidden_layers);
        sites.into_iter().map(|site| self.fed(site)).collect()
    }

    /// All keys, or values, that the port was fed at `kind`, and the slots that they stand in.
    pub fn cached(&self, kind: Kind) -> Option<(Rows, Slots)> {
        let stored = (self.truth)(self.beside(kind))?;
        let mut values = stored.rows.values;
        values.iter_mut().for_each(|v| *v = round(*v, self.red.dtype));
        let rows = Rows::new(stored.rows.width, values);
        Some((rows, Slots::new(&stored.places, self.red.all.length).until(self.red.window.end)))
    }

    /// What `theory`, row `r` of what the tensor would be, may differ by from what the port gives.
    pub fn budget(&self, r: usize, theory: &[f64]) -> Budget {
        let scale = Scale::of(theory.iter().copied());
        Budget::derive(scale, self.noise[r], self.red.factor, self.red.dtype)
    }

    /// The entries in which the port's row `r` is wrong.
    pub fn wrong(&self, r: usize) -> impl Iterator<Item = usize> + '_ {
        let budget = self.budget(r, self.want.row(r));
        let pairs = self.got.row(r).iter().zip(self.want.row(r)).enumerate();
        pairs
            .filter(move |(_, (got, want))| {
                let error = (**got - **want).abs();
                got != want && (error.is_nan() || error > budget.max)
            })
            .map(|(j, _)| j)
    }

    /// Do all rows at position 0 agree, and is there another one?
    pub fn position_0_agrees(&self) -> bool {
        let positions = &self.tokens.positions;
        let at_0 = || (0..self.got.len()).filter(|&r| positions[r] == 0);
        at_0().next().is_some() && at_0().all(|r| self.wrong(r).next().is_none())
    }

    /// Where the config key `key` stands, in the user's own words: `` `rope_theta`, config.json ``.
    pub fn key(&self, key: &'static str) -> String {
        key_in(self.red.weights, key)
    }
}

/// Where the config key `key`, by its Hugging Face name, stands in the file that was read.
pub fn key_in(weights: &Weights, key: &'static str) -> String {
    if weights.gguf().is_none() {
        return format!("`{key}`, config.json");
    }
    let own = match key {
        "rope_theta" => "llama.rope.freq_base",
        "rms_norm_eps" => "llama.attention.layer_norm_rms_epsilon",
        "head_dim" => "llama.attention.key_length",
        "num_attention_heads" => "llama.attention.head_count",
        "num_key_value_heads" => "llama.attention.head_count_kv",
        "eos_token_ids" => "tokenizer.ggml.eos_token_id",
        "bos_token_id" => "tokenizer.ggml.bos_token_id",
        "max_position_embeddings" => "llama.context_length",
        other => other,
    };
    let file = weights.origin().file_name().unwrap_or_default().to_string_lossy();
    format!("`{own}`, {file}")
}

/// The nearest value of `dtype`.
pub fn round(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F64 => value,
        DType::BF16 => bf16::from_f64(value).to_f64(),
        DType::F16 => f16::from_f64(value).to_f64(),
        _ => f64::from(value as f32),
    }
}
