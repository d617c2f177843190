//! What is computed for a case of the project's own oracle.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;
use serde_json::Value;

use super::quantized;
use super::setup::Setup;
use super::tokens::Tokens;
use super::values::{Truth, exact};
use crate::Result;
use crate::graph::{self, Graph, NodeId};
use crate::oracle::{LastRead, ORDERS, OnBlocks};
use crate::probe::{Arithmetic, Site};
use crate::reference::{Feed, Made, OWN_ORACLE, Reference, ReferenceRows, TRUTH};
use crate::weights::Weights;

/// A case to compute.
#[derive(Clone, Debug)]
pub struct OwnCase<'a> {
    /// The model's weights.
    pub weights: &'a Weights,
    /// The name of the model.
    pub model: String,
    /// The name of the case.
    pub case: String,
    /// The tokens.
    pub tokens: Tokens,
    /// The dtypes in which noise is measured.
    pub dtypes: Vec<DType>,
    /// The feeds under which noise is measured.
    pub feeds: Vec<Feed>,
    /// The arithmetics of matrix products besides dense ones.
    pub arithmetics: Vec<Arithmetic>,
    /// Only the sites of these layers and those outside the layers, from the block inputs in `given`.
    pub layers: Option<BTreeSet<u16>>,
    /// Values that are not computed but taken as true.
    pub given: BTreeMap<Site, ReferenceRows>,
}

impl<'a> OwnCase<'a> {
    /// The case of a whole prompt: all sites under all feeds.
    pub fn of_prompt(weights: &'a Weights, model: &str, tokens: Tokens, dtypes: Vec<DType>) -> Self {
        Self {
            weights,
            model: model.to_owned(),
            case: "prompt".into(),
            tokens,
            dtypes,
            feeds: vec![Feed::Site, Feed::Block, Feed::Own],
            arithmetics: vec![],
            layers: None,
            given: BTreeMap::new(),
        }
    }

    /// Adds the arithmetics with which the blocks of a quantised file may be multiplied.
    pub fn on_blocks(self) -> Self {
        let eight_bits = |name: &String| self.weights.stored(name).is_some_and(|(kind, _)| kind == "Q8_0");
        let wide = self.weights.names().iter().any(eight_bits);
        let of_256 = wide.then_some(Arithmetic::Blocks256);
        Self { arithmetics: [Arithmetic::Blocks32].into_iter().chain(of_256).collect(), ..self }
    }

    /// Computes the case.
    ///
    /// # Errors
    /// The weights cannot be read, or a token is outside the vocabulary.
    pub fn compute(&self) -> Result<Reference> {
        let graph = graph::of(self.weights.config())?;
        let (pass, wanted) = (self.tokens.pass()?, self.wanted(&graph));
        let setup = Setup {
            weights: self.weights,
            graph: &graph,
            pass: &pass,
            wanted: &wanted,
            dtypes: &self.dtypes,
            feeds: &self.feeds,
        };
        let read = LastRead::default();
        let mut rows =
            exact(&setup, OnBlocks::exact(Arithmetic::Dense, &read), &Truth::of(&graph, &self.given)?)?;
        rows.extend(self.given.clone());
        let truth = Truth::of(&graph, &rows)?;
        let noise = setup.noise(Arithmetic::Dense, &|_| Ok(truth.clone()), &truth)?;
        let mut quantized = BTreeMap::new();
        for &arithmetic in &self.arithmetics {
            quantized.insert(arithmetic, quantized::compute(&setup, arithmetic, &truth)?);
        }
        Reference::made(Made {
            model: self.model.clone(),
            case: self.case.clone(),
            ids: self.tokens.ids.clone(),
            positions: self.tokens.positions.clone(),
            lengths: self.tokens.lengths(),
            padding: self.tokens.padding.clone(),
            places: self.tokens.places.clone(),
            rows,
            noise,
            quantized,
            dtypes: self.dtypes.clone(),
            feeds: self.feeds.clone(),
            provenance: self.provenance()?,
        })
    }

    /// The nodes to compute, with their sites.
    fn wanted(&self, graph: &Graph) -> BTreeMap<NodeId, Site> {
        let chosen = |site: &Site| {
            let of_layer = |layer| self.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
            site.layer.is_none_or(of_layer) && !self.given.contains_key(site)
        };
        let site = |id: NodeId| graph.node(id)?.site.probed().filter(chosen);
        graph.ids().filter_map(|id| Some((id, site(id)?))).collect()
    }

    fn provenance(&self) -> Result<BTreeMap<String, Value>> {
        let tool = format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let noise = format!("the oracle's rounded arithmetic in {ORDERS} orders of summation");
        let facts = [
            (TRUTH, OWN_ORACLE.to_owned()),
            ("weights_sha256", self.weights.sha256()?),
            ("noise", noise),
            ("tool", tool),
        ];
        Ok(facts.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect())
    }
}
