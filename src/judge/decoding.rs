//! Two ways in which a port continues a text: token by token, or along a known text whose logits come from
//! one pass.

use candle_core::{DType, IndexOp, Tensor};

use crate::generate::Decoder;
use crate::model::Input;
use crate::port::Port;
use crate::{Error, Result};

/// A decoder that can start its sequence again.
pub(super) trait Restart: Decoder {
    /// Starts a new sequence.
    fn restart(&mut self);
}

/// Runs every token through the port as it comes. The judge counts positions, as any caller of `forward`
/// must.
pub(super) struct TokenByToken<'a> {
    port: &'a mut dyn Port,
    at: usize,
}

impl<'a> TokenByToken<'a> {
    pub fn new(port: &'a mut dyn Port) -> Self {
        Self { port, at: 0 }
    }
}

impl Restart for TokenByToken<'_> {
    fn restart(&mut self) {
        self.port.begin();
        self.at = 0;
    }
}

impl Decoder for TokenByToken<'_> {
    fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let logits = self.port.forward(&Input::single(ids, self.at), &mut ())?; // [1, s, vocab]
        self.at += ids.len();
        row(&logits, ids.len() - 1)
    }

    fn room(&self) -> usize {
        self.port.traits().context - self.at
    }
}

/// Follows a known text. One pass over all of it gives the logits after each of its tokens, since a token's
/// logits do not depend on later tokens.
pub(super) struct AlongText {
    text: Vec<u32>,
    /// `[1, s, vocab]`
    logits: Tensor,
    context: usize,
    at: usize,
}

impl AlongText {
    /// Runs `prompt` and all `tokens` but the last, whose own logits nobody needs.
    ///
    /// # Errors
    /// Any error of the port.
    pub fn new(port: &mut dyn Port, prompt: &[u32], tokens: &[u32]) -> Result<Self> {
        let fed = &tokens[..tokens.len().saturating_sub(1)];
        let text = [prompt, fed].concat();
        port.begin();
        let logits = port.forward(&Input::single(&text, 0), &mut ())?;
        Ok(Self { text, logits, context: port.traits().context, at: 0 })
    }
}

impl Restart for AlongText {
    fn restart(&mut self) {
        self.at = 0;
    }
}

impl Decoder for AlongText {
    fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let end = self.at + ids.len();
        if self.text.get(self.at..end) != Some(ids) {
            return Err(Error::internal("the text to follow has other tokens"));
        }
        self.at = end;
        row(&self.logits, end - 1)
    }

    fn room(&self) -> usize {
        self.context - self.at
    }
}

/// Row `n` of logits `[1, s, vocab]`.
fn row(logits: &Tensor, n: usize) -> Result<Vec<f32>> {
    Ok(logits.i((0, n))?.to_dtype(DType::F32)?.to_vec1()?)
}
