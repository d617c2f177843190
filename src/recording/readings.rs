//! The ways in which an array can be read as the tensor of its site, and the choice of one of them.

use candle_core::{DType, Tensor};

use super::axes::Axes;
use super::candidates::candidates;
use super::form::{AxisOrder, Form};
use super::part::{Part, Repetition, repeated, repetition};
use super::pass::{Recording, Tensors};
use super::positions::Positions;
use super::site_tensor::Lookup;
use super::stored::Array;
use crate::Result;
use crate::probe::{Kind, Site};
use crate::weights::Config;

/// One way to read an array.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The form that the array then has.
    pub form: Form,
    /// What this says about it: `has the axes b s h d`.
    pub what: String,
    /// The words of a map that state it.
    pub words: Vec<String>,
}

impl Reading {
    /// The line of a map that states it for a kind of site or a single site.
    pub fn stated(&self, of: &str) -> String {
        match &self.words[..] {
            [word] => format!("\"{of}\" = \"{word}\""),
            words => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("\"{of}\" = [{}]", words.join(", "))
            }
        }
    }
}

/// Two arrays of one site that differ.
#[derive(Debug)]
pub(crate) struct Contradiction {
    pub site: Site,
    pub arrays: [String; 2],
}

impl Recording {
    /// The array at `site` of a file: its name, dimensions and form.
    pub(crate) fn array(&self, site: Site) -> Option<(&str, &[usize], &Form)> {
        let Tensors::File(stored) = &self.tensors else { return None };
        let (name, form) = stored.sites.get(&site)?;
        Some((name, &stored.arrays.entry(name)?.shape, form))
    }

    /// Does the array at `site` have the shape that docs/dump-format.md describes?
    pub(crate) fn is_as_described(&self, site: Site, config: &Config) -> bool {
        self.array(site).is_some_and(|(_, dims, form)| {
            let plain = form.order == AxisOrder::Canonical && form.part == Part::Whole;
            plain && dims == self.want(site.kind, config).dims()
        })
    }

    /// Reads the array at `site` in this form from now on.
    pub(crate) fn set_form(&mut self, site: Site, form: Form) {
        if let Tensors::File(stored) = &mut self.tensors
            && let Some((_, own)) = stored.sites.get_mut(&site)
        {
            *own = form;
        }
    }

    /// Every way in which the array at `site` can be read as its tensor, judged by its shape alone: the fewest
    /// assumptions first.
    ///
    /// # Errors
    /// The tensor cannot be read from its file.
    pub(crate) fn readings(&self, site: Site, config: &Config) -> Result<Vec<Reading>> {
        let (Tensors::File(stored), kind) = (&self.tensors, site.kind) else { return Ok(vec![]) };
        let Some((tensor, form)) = stored.read(site)? else { return Ok(vec![]) };
        let dims = tensor.dims();
        for (part, positions) in variations(kind, form) {
            let same_order = Form { part, positions, ..form.clone() };
            let mut found = Vec::new();
            let another = part != form.part || positions != form.positions;
            if another && let Lookup::Tensor(_) = self.read_as(site, &tensor, &same_order, Some(config))? {
                found.push(reading(same_order, None, config));
            }
            let Some(want) = part.want(&self.want(kind, config), kind, Some(config)) else { continue };
            for want in want.variants(positions, part == Part::Padded, dims) {
                for axes in if found.is_empty() { candidates(kind, &want, dims, false) } else { vec![] } {
                    let form = Form {
                        order: AxisOrder::Letters(axes.clone()),
                        interleaved: self.stays_interleaved(form, config),
                        part,
                        positions,
                        stated: form.stated,
                    };
                    if let Lookup::Tensor(_) = self.read_as(site, &tensor, &form, Some(config))? {
                        found.push(reading(form, Some(&axes), config));
                    }
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(vec![])
    }

    /// Further ways to read the array at `site`, which its dimensions do not suggest: heads before positions in memory,
    /// or after them, although its dimensions are those of another order; keys before queries.
    ///
    /// # Errors
    /// The tensor cannot be read from its file.
    pub(crate) fn unlikely_readings(&self, site: Site, config: &Config) -> Result<Vec<Reading>> {
        let (want, kind) = (self.want(site.kind, config), site.kind);
        let Tensors::File(stored) = &self.tensors else { return Ok(vec![]) };
        let Some((tensor, own)) = stored.read(site)? else { return Ok(vec![]) };
        let mut found = Vec::new();
        let is_same = |other: &Lookup| match (other, self.lookup(site, Some(config))) {
            (Lookup::Tensor(other), Ok(Lookup::Tensor(own))) => same(&own.tensor, &other.tensor),
            _ => Ok(true),
        };
        let heads = !kind.over_keys() && (want.heads.is_some() || want.merged > 1) && own.part == Part::Whole;
        let memory = [Axes::heads_first(), Axes::heads_second()].into_iter().filter(|_| heads);
        let keys_first = candidates(kind, &want, tensor.dims(), true).into_iter();
        for order in memory.map(AxisOrder::Memory).chain(keys_first.map(AxisOrder::Letters)) {
            let (what, word) = match &order {
                AxisOrder::Memory(axes) => (
                    format!("has the axes `{axes}` in memory, whatever its dimensions say"),
                    format!("memory {axes}"),
                ),
                AxisOrder::Letters(axes) => (format!("has the axes `{axes}`"), axes.to_string()),
                _ => continue,
            };
            let form = Form { order, interleaved: self.stays_interleaved(own, config), ..own.clone() };
            if !is_same(&self.read_as(site, &tensor, &form, Some(config))?)? {
                found.push(Reading { form, what, words: vec![word] });
            }
        }
        Ok(found)
    }

    /// The order of q and k that follows from ggml's order of axes does not change with the order of axes.
    pub(super) fn stays_interleaved(&self, form: &Form, config: &Config) -> Option<bool> {
        let implied = form.order.is_ggml() && !self.metadata.contains_key("layout");
        form.interleaved.or_else(|| implied.then(|| self.is_interleaved(form, config)))
    }

    /// How the heads of the array at `site` are repeated; `None` if their copies differ.
    ///
    /// # Errors
    /// The tensor cannot be read from its file.
    pub(crate) fn repetition(&self, site: Site, config: &Config) -> Result<Option<Repetition>> {
        let Tensors::File(stored) = &self.tensors else { return Ok(None) };
        let Some((tensor, form)) = stored.read(site)? else { return Ok(None) };
        // As queries, which have one head for each copy.
        let kind = if site.kind == Kind::KRope { Kind::QRope } else { Kind::QProj };
        let whole = Form { part: Part::Whole, ..form.clone() };
        let as_queries = Site { kind, ..site };
        let Lookup::Tensor(all) = self.read_as(as_queries, &tensor, &whole, Some(config))? else {
            return Ok(None);
        };
        let rows = if kind == Kind::QRope { all.tensor.transpose(1, 2)? } else { all.tensor };
        let rows: Vec<f64> = rows.contiguous()?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let (heads, times) = repeated(config);
        Ok(repetition(&rows, config.head_dim, heads, times))
    }

    /// The first site of which two arrays have different values, bit by bit. Those that are the same as the first
    /// are dropped.
    ///
    /// # Errors
    /// A tensor cannot be read from its file.
    pub(crate) fn contradiction(&mut self, config: Option<&Config>) -> Result<Option<Contradiction>> {
        let Tensors::File(stored) = &mut self.tensors else { return Ok(None) };
        let twice = std::mem::take(&mut stored.twice);
        for (site, array) in twice {
            if !self.is_same(site, &array, config)? {
                let first = self.array(site).map_or(String::new(), |(name, ..)| name.to_owned());
                return Ok(Some(Contradiction { site, arrays: [first, array.0] }));
            }
        }
        Ok(None)
    }

    /// Does the array have the values of the one at `site`?
    fn is_same(&self, site: Site, array: &Array, config: Option<&Config>) -> Result<bool> {
        let Tensors::File(stored) = &self.tensors else { return Ok(false) };
        let Some((tensor, form)) = stored.array(array)? else { return Ok(false) };
        let (own, other) = (self.lookup(site, config)?, self.read_as(site, &tensor, form, config)?);
        let (Lookup::Tensor(own), Lookup::Tensor(other)) = (own, other) else { return Ok(false) };
        same(&own.tensor, &other.tensor)
    }

    /// Moves arrays between the sites of `mlp.act` and silu(gate), in every layer.
    pub(crate) fn exchange_activations(&mut self) {
        let Tensors::File(stored) = &mut self.tensors else { return };
        let act = |layer: u16| Site { layer: Some(layer), kind: Kind::Act };
        let acts: Vec<Site> = stored.sites.keys().copied().filter(|site| site.kind == Kind::Act).collect();
        let acts = acts.into_iter().filter_map(|site| Some((site.layer?, stored.sites.remove(&site)?)));
        let acts = acts.collect();
        let activations = std::mem::replace(&mut stored.activations, acts);
        stored.sites.extend(activations.into_iter().map(|(layer, array)| (act(layer), array)));
    }
}

/// Do two tensors have the same dimensions and values, bit by bit?
fn same(a: &Tensor, b: &Tensor) -> Result<bool> {
    if a.dims() != b.dims() {
        return Ok(false);
    }
    let bits = |tensor: &Tensor| -> Result<Vec<u64>> {
        let values: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Ok(values.into_iter().map(f64::to_bits).collect())
    };
    Ok(bits(a)? == bits(b)?)
}

/// The parts and positions to try for an array of this kind and form: as they are, then one other.
fn variations(kind: Kind, form: &Form) -> Vec<(Part, Positions)> {
    let mut all = vec![(form.part, form.positions)];
    if form.part == Part::Whole {
        all.extend(match kind {
            Kind::KProj | Kind::KNorm | Kind::VProj | Kind::KRope => {
                Some((Part::Repeated(Repetition::Adjacent), form.positions))
            }
            Kind::Logits | Kind::CappedLogits => Some((Part::Padded, form.positions)),
            _ => None,
        });
    }
    all.push((form.part, Positions::Last));
    all
}

/// Describes a form.
fn reading(form: Form, axes: Option<&Axes>, config: &Config) -> Reading {
    let (mut what, mut words) = (Vec::new(), Vec::new());
    if let Some(axes) = axes {
        what.push(format!("has the axes `{axes}`"));
        words.push(axes.to_string());
    }
    match form.part {
        Part::Whole | Part::Fused(_) => {}
        Part::Repeated(_) => {
            let (_, times) = repeated(config);
            what.push(format!("has each head {times} times, once for each query head"));
            words.push("repeated".to_owned());
        }
        Part::Padded => {
            what.push("has columns of padding behind the vocabulary".to_owned());
            words.push("padded".to_owned());
        }
    }
    if form.positions == Positions::Last {
        what.push("has the last positions only".to_owned());
        words.push("last".to_owned());
    }
    Reading { form, what: what.join(" and "), words }
}
