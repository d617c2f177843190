//! The token stream as text: never half a character, never a stop string.

use super::{Decoder, Finish, Generation, Step, Stops};
use crate::Result;
use crate::tokenizer::{Stream, Tokenizer};

/// A generated token and the text that is certain with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The token.
    pub step: Step,
    /// Often its own text; none while a character or a stop string may be unfinished, and later
    /// that of several tokens. An end-of-sequence token has none.
    pub text: String,
}

/// What follows a prompt, token by token, as text. All pieces together are the text, up to the first
/// stop string; the token that completes it is the last.
///
/// Bytes that are tokens of their own (`<0x0A>`) are certain only with the token after them, so a
/// stop string that ends in one is seen one token later. The text is cut at the same place.
#[derive(Debug)]
pub struct Continuation<'a, D> {
    generation: Generation<D>,
    stream: Option<Stream<'a>>,
    stops: Stops,
}

impl<'a, D: Decoder> Continuation<'a, D> {
    /// The text of `generation`, which has not begun to draw.
    ///
    /// # Errors
    /// When `tokenizer` does not know the prompt's ids.
    pub fn new(generation: Generation<D>, tokenizer: &'a Tokenizer, stops: Stops) -> Result<Self> {
        let stream = Some(tokenizer.stream_after(generation.prompt(), true)?);
        Ok(Self { generation, stream, stops })
    }

    /// The tokens behind the text.
    pub fn generation(&self) -> &Generation<D> {
        &self.generation
    }

    /// Why it ended, once it has.
    pub fn finish(&self) -> Option<Finish> {
        self.stops.met().map_or(self.generation.finish(), |_| Some(Finish::StopString))
    }

    /// The stop string that ended it, if one has.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stops.met()
    }

    /// The text that is certain with this token: all that is left, if it is the last.
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
