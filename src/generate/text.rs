//! Turns the token stream into text, without incomplete characters and without stop strings.

use super::{Decoder, Finish, Generation, Step, Stops};
use crate::Result;
use crate::tokenizer::{Stream, Tokenizer};

/// A generated token, and the text that became certain with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The token.
    pub step: Step,
    /// Often the token's own text. Empty while a character or a stop string may be incomplete; later it can
    /// be the text of several tokens. Empty for an end-of-sequence token.
    pub text: String,
}

/// The continuation of a prompt, token by token, as text. All pieces joined are the text up to the first stop
/// string; the token that completes the stop string is the last.
///
/// Tokens for single bytes (`<0x0A>`) become certain only with the next token, so a stop string that ends
/// with such a token is detected one token later. The text is cut at the same position.
#[derive(Debug)]
pub struct Continuation<'a, D> {
    generation: Generation<D>,
    stream: Option<Stream<'a>>,
    stops: Stops,
}

impl<'a, D: Decoder> Continuation<'a, D> {
    /// The text of `generation`, from which no token must have been drawn yet.
    ///
    /// # Errors
    /// `tokenizer` does not know the prompt's ids.
    pub fn new(generation: Generation<D>, tokenizer: &'a Tokenizer, stops: Stops) -> Result<Self> {
        let stream = Some(tokenizer.stream_after(generation.prompt(), true)?);
        Ok(Self { generation, stream, stops })
    }

    /// The generation that produces the tokens.
    pub fn generation(&self) -> &Generation<D> {
        &self.generation
    }

    /// Why it ended, or `None` if it has not ended.
    pub fn finish(&self) -> Option<Finish> {
        self.stops.met().map_or(self.generation.finish(), |_| Some(Finish::StopString))
    }

    /// The stop string that ended it, if any.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stops.met()
    }

    /// The text that becomes certain with this token; all remaining text, if it is the last token.
    fn text(&mut self, token: u32) -> Result<String> {
        let Some(stream) = &mut self.stream else { return Ok(String::new()) };
        let mut text = match self.generation.finish() {
            Some(Finish::EndOfSequence) => String::new(),
            _ => self.stops.push(&stream.push(token)?),
        };
        if self.generation.finish().is_some() {
            let rest = self.stream.take().map(Stream::finish).transpose()?.unwrap_or_default();
            text += &self.stops.push(&rest);
            text += &self.stops.finish();
        }
        Ok(text)
    }
}

impl<D: Decoder> Iterator for Continuation<'_, D> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.stops.met().is_some() {
            return None;
        }
        let step = self.generation.next()?;
        Some(step.and_then(|step| Ok(Piece { step, text: self.text(step.token)? })))
    }
}
