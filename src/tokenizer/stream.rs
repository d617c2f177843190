//! Decoding id by id.

use super::Tokenizer;
use crate::Result;

/// Turns ids into pieces of text as they come. The pieces, with the last one from
/// [`Stream::finish`], are together exactly what decoding all ids at once gives.
///
/// Two things forbid decoding each id alone. A character may be spread over several tokens, so text
/// is held back while it could still change. And the decoder treats the start of a text differently
/// (Llama's drops one blank there), so every piece is decoded behind its predecessor.
#[derive(Debug)]
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// Ids whose text is out already, and that text: they make what follows no start of a text.
    before: Vec<u32>,
    before_text: String,
    /// Ids whose text is not out yet.
    held: Vec<u32>,
}

impl Tokenizer {
    /// Starts decoding id by id: what [`Tokenizer::decode`], or with `skip_special`
    /// [`Tokenizer::decode_skipping_special`], would give, in pieces.
    pub fn stream(&self, skip_special: bool) -> Stream<'_> {
        Stream::new(self, skip_special)
    }

    /// As [`Tokenizer::stream`], for ids that follow `before`, whose text is out already.
    ///
    /// # Errors
    /// When one of `before` has no token.
    pub fn stream_after(&self, before: &[u32], skip_special: bool) -> Result<Stream<'_>> {
        Stream::after(self, before, skip_special)
    }
}

impl<'a> Stream<'a> {
    fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, before: Vec::new(), before_text: String::new(), held: Vec::new() }
    }

    fn after(tokenizer: &'a Tokenizer, before: &[u32], skip_special: bool) -> Result<Self> {
        let told = |id: &u32| !(skip_special && tokenizer.is_special(*id));
        let before: Vec<u32> = before.iter().copied().filter(told).collect();
        let before_text = tokenizer.decode(&before)?;
        Ok(Self { tokenizer, skip_special, before, before_text, held: Vec::new() })
    }

    /// Takes the next id and gives the text that is certain by now; often one token's, sometimes
    /// none, sometimes that of several.
    ///
    /// # Errors
    /// When the id has no token.
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
        // U+FFFD at the end is an unfinished character, or a real one: the next token will tell.
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        Ok(self.release(&text))
    }

    /// Gives what was held back, unfinished characters as U+FFFD.
    ///
    /// # Errors
    /// Never for ids that `push` took.
    pub fn finish(mut self) -> Result<String> {
        let text = self.text_so_far()?;
        Ok(self.release(&text))
    }

    fn text_so_far(&self) -> Result<String> {
        self.tokenizer.decode(&[self.before.as_slice(), &self.held].concat())
    }

    fn release(&mut self, text: &str) -> String {
        // Bytes after a prompt may turn its last character invalid: what is out stays out.
        let same = text.chars().zip(self.before_text.chars()).take_while(|(now, then)| now == then);
        let piece = text[same.map(|(c, _)| c.len_utf8()).sum()..].to_owned();
        if piece.is_empty() {
            // Tokens without text do not end the start of a text: keep what stands before them.
            self.before.append(&mut self.held);
        } else {
            self.before = std::mem::take(&mut self.held);
            self.before_text = self.tokenizer.decode(&self.before).unwrap_or_default();
        }
        piece
    }

    /// Is it a token for one byte, `<0x0A>`?
    fn is_byte(&self, id: u32) -> bool {
        let token = self.tokenizer.token(id).unwrap_or_default();
        token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
    }
}
