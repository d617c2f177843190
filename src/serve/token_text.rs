//! The text and the bytes of a single token, for log-probabilities.

use rbees_check::Result;
use rbees_check::tokenizer::Tokenizer;

/// Spells tokens as they appear in the middle of a text.
#[derive(Clone, Debug)]
pub struct TokenTexts {
    /// Ids of a text that a token can follow: at the start of a text, some decoders drop a space.
    before: Vec<u32>,
}

/// A token as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelled {
    /// Its text; U+FFFD stands for bytes that are not a whole character.
    pub text: String,
    /// Its bytes, if they are known.
    pub bytes: Option<Vec<u8>>,
}

impl TokenTexts {
    /// Prepares for the tokens of `tokenizer`.
    ///
    /// # Errors
    /// It cannot encode a text.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self> {
        Ok(Self { before: tokenizer.encode("a", false)? })
    }

    /// The text and bytes of a token. An id outside the vocabulary has neither.
    pub fn of(&self, tokenizer: &Tokenizer, id: u32) -> Spelled {
        let whole = |ids: &[u32]| tokenizer.decode(ids).unwrap_or_default();
        let both = whole(&[self.before.as_slice(), &[id]].concat());
        let text = both.strip_prefix(&whole(&self.before)).unwrap_or(&both).to_owned();
        let incomplete = text.contains(char::REPLACEMENT_CHARACTER);
        let bytes_of =
            |token: String| if incomplete { stored_bytes(&token) } else { Some(text.clone().into_bytes()) };
        Spelled { bytes: tokenizer.token(id).and_then(bytes_of), text }
    }
}

/// The bytes of a token as the vocabulary writes it: `<0x0A>`, or one character for each byte, as GPT-2 does.
fn stored_bytes(token: &str) -> Option<Vec<u8>> {
    if let Some(hex) = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
        return Some(vec![u8::from_str_radix(hex, 16).ok()?]);
    }
    token.chars().map(byte).collect()
}

/// The byte that GPT-2 writes as this character: printable characters of Latin-1 are themselves, and the others follow
/// from U+0100 on, in order.
fn byte(c: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c).checked_sub(0x100) {
        None => Some(c as u8).filter(printable),
        Some(nth) => (0..=255u8).filter(|byte| !printable(byte)).nth(nth as usize),
    }
}

#[cfg(test)]
mod tests {
    use rbees_check::models;

    use super::*;

    #[test]
    fn all_256_bytes_have_a_character() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte).collect();
        bytes.sort();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((byte('Ġ'), byte('Ċ')), (Some(b' '), Some(b'\n')));
        assert_eq!(stored_bytes("<0x0A>"), Some(vec![10]));
    }

    #[test]
    fn the_tokens_of_a_text_have_its_bytes() {
        for name in ["tiny-llama", "tiny-llama2"] {
            let model = models::open(name).unwrap();
            let tokenizer = model.tokenizer().unwrap();
            let texts = TokenTexts::new(tokenizer).unwrap();
            let text = "x And the king, «é日本»\n";
            let ids = tokenizer.encode(text, false).unwrap();
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| texts.of(tokenizer, id).bytes.unwrap()).collect();
            let read = String::from_utf8(bytes).unwrap();
            assert_eq!(read.trim_start(), text.trim_start(), "{name}");
            assert_eq!(texts.of(tokenizer, 1 << 30), Spelled { text: String::new(), bytes: None });
        }
    }
}
