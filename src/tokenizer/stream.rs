//! Decodes ids one by one.

use super::Tokenizer;
use crate::Result;

/// Turns ids into pieces of text as they arrive. All pieces, with the last one from [`Stream::finish`], are
/// together exactly the text that decoding all ids at once gives.
///
/// Each id cannot be decoded alone, for two reasons. A character may be spread over several tokens, so text
/// that may still change is held back. And the decoder treats the start of a text differently (Llama's drops
/// one space there), so every piece is decoded together with the ids before it.
#[derive(Debug)]
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// Ids whose text was already returned, and that text: with them, the next piece is not at the start of
    /// the text.
    before: Vec<u32>,
    before_text: String,
    /// Ids whose text has not been returned yet.
    held: Vec<u32>,
}

impl Tokenizer {
    /// Starts to decode id by id. The pieces together are what [`Tokenizer::decode`], or with `skip_special`
    /// [`Tokenizer::decode_skipping_special`], would give.
    pub fn stream(&self, skip_special: bool) -> Stream<'_> {
        Stream::new(self, skip_special)
    }

    /// Like [`Tokenizer::stream`], for ids that follow `before`, whose text was already returned.
    ///
    /// # Errors
    /// One of `before` is not in the vocabulary.
    pub fn stream_after(&self, before: &[u32], skip_special: bool) -> Result<Stream<'_>> {
        Stream::after(self, before, skip_special)
    }
}

impl<'a> Stream<'a> {
    fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, before: Vec::new(), before_text: String::new(), held: Vec::new() }
    }

    fn after(tokenizer: &'a Tokenizer, before: &[u32], skip_special: bool) -> Result<Self> {
        let kept = |id: &u32| !(skip_special && tokenizer.is_special(*id));
        let before: Vec<u32> = before.iter().copied().filter(kept).collect();
        let before_text = tokenizer.decode(&before)?;
        Ok(Self { tokenizer, skip_special, before, before_text, held: Vec::new() })
    }

    /// Takes the next id, and returns the text that is certain now: often that of one token, sometimes none,
    /// sometimes that of several.
    ///
    /// # Errors
    /// The id is not in the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.skip_special && self.tokenizer.is_special(id) {
            return Ok(String::new());
        }
        self.held.push(id);
        if self.is_byte(id) {
            // The next byte may complete a character, or make the whole run of bytes invalid.
            return Ok(String::new());
        }
        let text = self.text_so_far()?;
        // U+FFFD at the end is an incomplete character or a real one; the next token will show which.
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        Ok(self.release(&text))
    }

    /// Returns the text that was held back, with incomplete characters as U+FFFD.
    ///
    /// # Errors
    /// None for ids that `push` accepted.
    pub fn finish(mut self) -> Result<String> {
        let text = self.text_so_far()?;
        Ok(self.release(&text))
    }

    fn text_so_far(&self) -> Result<String> {
        self.tokenizer.decode(&[self.before.as_slice(), &self.held].concat())
    }

    fn release(&mut self, text: &str) -> String {
        // Bytes after a prompt may make its last character invalid, but text that was returned stays
        // unchanged.
        let same = text.chars().zip(self.before_text.chars()).take_while(|(now, then)| now == then);
        let piece = text[same.map(|(c, _)| c.len_utf8()).sum()..].to_owned();
        if piece.is_empty() {
            // Tokens without text do not end the start of a text, so the ids before them are kept.
            self.before.append(&mut self.held);
        } else {
            self.before = std::mem::take(&mut self.held);
            self.before_text = self.tokenizer.decode(&self.before).unwrap_or_default();
        }
        piece
    }

    /// Whether it is a token for one byte, `<0x0A>`.
    fn is_byte(&self, id: u32) -> bool {
        let token = self.tokenizer.token(id).unwrap_or_default();
        token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
    }
}
