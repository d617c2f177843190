//! Turns the token stream into text, without incomplete characters and without stop strings.

use super::{Decoder, Finish, Generation, Step, Stops};
use crate::Result;
use crate::tokenizer::{Stream, Tokenizer};

/// The text of a sequence, token by token, up to the first stop string.
///
/// Tokens for single bytes (`<0x0A>`) become certain only with the next token, so a stop string that ends
/// with such a token is detected one token later. The text is cut at the same position.
#[derive(Debug)]
pub struct Text<'a> {
    stream: Option<Stream<'a>>,
    stops: Stops,
}

impl<'a> Text<'a> {
    /// The text after `prompt`.
    ///
    /// # Errors
    /// `tokenizer` does not know the prompt's ids.
    pub fn after(prompt: &[u32], tokenizer: &'a Tokenizer, stops: Stops) -> Result<Self> {
        Ok(Self { stream: Some(tokenizer.stream_after(prompt, true)?), stops })
    }

    /// The text that becomes certain with this token; all remaining text, if it is the last token: then `finish` says
    /// why. An end-of-sequence token has no text.
    ///
    /// # Errors
    /// The tokenizer does not know the token.
    pub fn push(&mut self, token: u32, finish: Option<Finish>) -> Result<String> {
        let Some(stream) = &mut self.stream else { return Ok(String::new()) };
        let mut text = match finish {
            Some(Finish::EndOfSequence) => String::new(),
            _ => self.stops.push(&stream.push(token)?),
        };
        if finish.is_some() {
            let rest = self.stream.take().map(Stream::finish).transpose()?.unwrap_or_default();
            text += &self.stops.push(&rest);
            text += &self.stops.finish();
        }
        Ok(text)
    }

    /// The stop string that ended the text, if any.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stops.met()
    }
}

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
#[derive(Debug)]
pub struct Continuation<'a, D> {
    generation: Generation<D>,
    text: Text<'a>,
}

impl<'a, D: Decoder> Continuation<'a, D> {
    /// The text of `generation`, from which no token must have been drawn yet.
    ///
    /// # Errors
    /// `tokenizer` does not know the prompt's ids.
    pub fn new(generation: Generation<D>, tokenizer: &'a Tokenizer, stops: Stops) -> Result<Self> {
        let text = Text::after(generation.prompt(), tokenizer, stops)?;
        Ok(Self { generation, text })
    }

    /// The generation that produces the tokens.
    pub fn generation(&self) -> &Generation<D> {
        &self.generation
    }

    /// Why it ended, or `None` if it has not ended.
    pub fn finish(&self) -> Option<Finish> {
        self.stopped_by().map_or(self.generation.finish(), |_| Some(Finish::StopString))
    }

    /// The stop string that ended it, if any.
    pub fn stopped_by(&self) -> Option<&str> {
        self.text.stopped_by()
    }
}

impl<D: Decoder> Iterator for Continuation<'_, D> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.stopped_by().is_some() {
            return None;
        }
        let step = self.generation.next()?;
        let finish = self.generation.finish();
        Some(step.and_then(|step| Ok(Piece { step, text: self.text.push(step.token, finish)? })))
    }
}
