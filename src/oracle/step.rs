//! Computes one step of a plan from the available tensors.

use std::borrow::Cow;

use super::arithmetic::Arithmetic;
use super::available::AvailableTensors;
use super::linear::vector;
use super::pass::{Pass, Place};
use super::placed::Placed;
use super::rows::Rows;
use super::sight::{RowPlaces, Sight, complete, slots};
use super::streamed::{Looks, Steps, attend};
use crate::graph::{Context, Embedding, Linear, MatrixRows, Node, NodeId, Norm, Operation, Scores};
use crate::weights::Weights;
use crate::{Error, Result};

/// Computes nodes in one arithmetic.
pub(super) struct Stepper<'a, A> {
    pub weights: Option<&'a Weights>,
    pub pass: &'a Pass,
    pub arithmetic: &'a A,
}

impl<A: Arithmetic> Stepper<'_, A> {
    /// Computes a node at the places where every input has a row. The result has no rows if there are no such
    /// places.
    pub fn node(&self, node: &Node, available: &AvailableTensors) -> Result<Placed> {
        if let Operation::Embedding(embedding) = &node.operation {
            return self.embedding(node, embedding, available);
        }
        let inputs = available.aligned(node)?;
        if inputs.places.is_empty() {
            return self.no_rows(node);
        }
        let x = inputs.input(0)?;
        let a = self.arithmetic;
        let rows = match &node.operation {
            Operation::Source | Operation::Embedding(_) => {
                return Err(Error::internal("a node that takes no inputs has some"));
            }
            Operation::Scores(scores) => {
                return self.scores(node, x, &inputs.places, &*available.keys(key_of(node)?)?, scores);
            }
            Operation::Context(context) => {
                return self.context(node, x, &inputs.places, &*available.keys(key_of(node)?)?, context);
            }
            Operation::Norm(norm) => self.norm(x, norm)?,
            Operation::Linear(linear) => self.linear(node, x, linear)?,
            Operation::Rope(rope) => a.rope(x, rope, &self.row_places(&inputs.places)?),
            Operation::Softmax => a.softmax(x, self.pass.length(), &self.row_places(&inputs.places)?),
            Operation::Activation(activation) => a.activation(x, *activation),
            Operation::Product => a.product(x, inputs.input(1)?),
            Operation::WeightedSum { factors } => {
                let terms: Vec<(f64, &Rows)> =
                    factors.iter().copied().zip(inputs.rows.iter().map(AsRef::as_ref)).collect();
                a.weighted_sum(&terms)
            }
            Operation::Softcap { cap } => a.softcap(x, *cap),
            Operation::Scale { factor } => a.scale(x, *factor),
        };
        Placed::new(rows, inputs.places)
    }

    /// Computes a context without storing all its scores. Scores, softmax and context each have their own
    /// arithmetic.
    pub fn attention(
        &self,
        context: &Node,
        scores: &Node,
        steps: &Steps<A>,
        available: &AvailableTensors,
    ) -> Result<Placed> {
        let (Operation::Context(mixing), Operation::Scores(scoring)) =
            (&context.operation, &scores.operation)
        else {
            return Err(Error::internal("an attention step needs a scores node and a context node"));
        };
        let queries = available.aligned(scores)?;
        let (keys, values) = (available.keys(key_of(scores)?)?, available.keys(key_of(context)?)?);
        let (key_slots, value_slots) = (slots(self.pass, &keys), slots(self.pass, &values));
        let places = complete(self.pass, scoring.mask, &queries.places, &[&key_slots, &value_slots]);
        if places.is_empty() {
            return self.no_rows(context);
        }
        let q = kept(queries.input(0)?, &queries.places, &places);
        let looks = Looks {
            pass: self.pass,
            places: &places,
            keys: (keys.rows(), &key_slots),
            values: (values.rows(), &value_slots),
        };
        let rows = attend(steps, &q, &looks, scoring, mixing)?; // [queries, heads * head_dim]
        Placed::new(rows, places)
    }

    fn embedding(&self, node: &Node, embedding: &Embedding, available: &AvailableTensors) -> Result<Placed> {
        let places: Vec<Place> =
            self.pass.places().into_iter().filter(|place| available.wants(place)).collect();
        if places.is_empty() {
            return self.no_rows(node);
        }
        let tokens = places.iter().filter_map(|&place| self.pass.token(place));
        let ids: Vec<u32> = tokens.map(|token| token.id).collect();
        let vocab = self.matrix_shape(&embedding.weight, node.shape.width(self.pass.length()))?;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
            let what = format!("{}: token {id} is outside the vocabulary of {vocab}", node.site);
            return Err(Error::input(what, "use the tokenizer of this model"));
        }
        Placed::new(self.arithmetic.embedding(self.weights(&embedding.weight)?, embedding, &ids)?, places)
    }

    fn norm(&self, x: &Rows, norm: &Norm) -> Result<Rows> {
        let length = norm.rule.run(x.width);
        let read = |name: &String| self.vector(name, length);
        let (weight, bias) = (read(&norm.weight)?, norm.bias.as_ref().map(read).transpose()?);
        Ok(self.arithmetic.norm(x, &norm.rule, &weight, bias.as_deref()))
    }

    fn linear(&self, node: &Node, x: &Rows, linear: &Linear) -> Result<Rows> {
        let out = node.shape.width(self.pass.length());
        let stored = self.matrix_shape(&linear.weight, x.width)?;
        let rows = linear.rows.clone().unwrap_or(MatrixRows::Range(0..out));
        if rows.end() > stored || linear.rows.is_none() && out != stored {
            return Err(misshapen(&linear.weight, &format!("{stored} rows, not {}", rows.end())));
        }
        let weights = self.weights(&linear.weight)?;
        let matrix = self.arithmetic.matrix(weights, &linear.weight, linear.rows.as_ref())?; // [out, in]
        let bias = linear.bias.as_ref().map(|name| {
            let all = self.vector(name, stored)?;
            Ok::<_, Error>(rows.numbers().into_iter().map(|row| all[row as usize]).collect::<Vec<f64>>())
        });
        self.arithmetic.linear(x, &matrix, bias.transpose()?.as_deref())
    }

    fn scores(&self, node: &Node, q: &Rows, at: &[Place], keys: &Placed, scores: &Scores) -> Result<Placed> {
        let slots = slots(self.pass, keys);
        let places = complete(self.pass, scores.mask, at, &[&slots]);
        if places.is_empty() {
            return self.no_rows(node);
        }
        let sight = Sight::new(self.pass, &places, &slots);
        let rows = self.arithmetic.scores(&kept(q, at, &places), keys.rows(), &sight, scores)?;
        Placed::new(rows, places)
    }

    /// Computes the context rows whose attention weights are 0 at every slot with an unknown value.
    fn context(
        &self,
        node: &Node,
        probs: &Rows,
        at: &[Place],
        values: &Placed,
        context: &Context,
    ) -> Result<Placed> {
        let (slots, length) = (slots(self.pass, values), self.pass.length());
        let known = |&(&(batch, _), row): &(&Place, &[f64])| {
            row.iter().enumerate().all(|(j, &p)| p == 0.0 || slots.at(batch, j % length).is_some())
        };
        let places: Vec<Place> = at.iter().zip(probs.iter()).filter(known).map(|(&place, _)| place).collect();
        if places.is_empty() {
            return self.no_rows(node);
        }
        let sight = Sight::new(self.pass, &places, &slots);
        let rows = self.arithmetic.context(&kept(probs, at, &places), values.rows(), &sight, context)?;
        Placed::new(rows, places)
    }

    /// A tensor of the node's width without rows.
    fn no_rows(&self, node: &Node) -> Result<Placed> {
        let width = node.shape.width(self.pass.length());
        Placed::new(Rows { width, values: Vec::new() }, Vec::new())
    }

    fn row_places<'s>(&'s self, places: &'s [Place]) -> Result<RowPlaces<'s>> {
        match places.iter().find(|&&place| self.pass.token(place).is_none()) {
            Some(_) => Err(Error::internal("a row is at a place without a token")),
            None => Ok(RowPlaces { pass: self.pass, places }),
        }
    }

    fn weights(&self, name: &str) -> Result<&Weights> {
        self.weights.ok_or_else(|| misshapen(name, "missing"))
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.weights?.shape(name)
    }

    /// The number of rows of a matrix, after checking that it has `columns` columns.
    fn matrix_shape(&self, name: &str, columns: usize) -> Result<usize> {
        match self.shape(name) {
            Some(&[rows, width]) if width == columns => Ok(rows),
            Some(shape) => Err(misshapen(name, &format!("{shape:?}, not [_, {columns}]"))),
            None => Err(misshapen(name, "missing")),
        }
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f64>> {
        match self.shape(name) {
            Some(&[own]) if own == length => vector(self.weights(name)?, name),
            Some(shape) => Err(misshapen(name, &format!("{shape:?}, not [{length}]"))),
            None => Err(misshapen(name, "missing")),
        }
    }
}

/// The node of the second input: keys or values.
fn key_of(node: &Node) -> Result<NodeId> {
    node.inputs.get(1).map(|input| input.node).ok_or_else(|| Error::internal("attention without keys"))
}

/// The rows of x at `places`; `from` has the place of each row of x.
fn kept<'a>(x: &'a Rows, from: &[Place], places: &[Place]) -> Cow<'a, Rows> {
    if from == places {
        return Cow::Borrowed(x);
    }
    let kept = from.iter().zip(x.iter()).filter(|(place, _)| places.binary_search(place).is_ok());
    Cow::Owned(Rows { width: x.width, values: kept.flat_map(|(_, row)| row.iter().copied()).collect() })
}

fn misshapen(name: &str, how: &str) -> Error {
    Error::input(format!("tensor `{name}` is {how}"), "use the weights that belong to this configuration")
}
