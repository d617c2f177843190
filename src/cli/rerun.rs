//! Builds the flags of the rerun command, from the flags of this run.

use clap::ValueEnum;

use super::common::Common;

/// Flags, as they appear after `rbees-check run ID`.
pub struct Flags(String);

impl Flags {
    /// The flags that choose the model, its references, the device and the dtype.
    pub fn of(common: &Common) -> Self {
        let mut flags = Self(String::new());
        let Common { model, references, device, dtype, .. } = common;
        model.iter().for_each(|model| flags.text("model", model));
        references.iter().for_each(|references| flags.text("references", references));
        if device != "cpu" {
            flags.text("device", device);
        }
        flags.choice("dtype", *dtype);
        flags
    }

    /// Adds a flag and its value.
    pub fn text(&mut self, flag: &str, value: &str) {
        self.0 += &format!(" --{flag} {}", quoted(value));
    }

    /// Adds a flag whose value is one of a few names, if it was given.
    pub fn choice(&mut self, flag: &str, value: Option<impl ValueEnum>) {
        if let Some(value) = value.as_ref().and_then(ValueEnum::to_possible_value) {
            self.text(flag, value.get_name());
        }
    }

    /// Adds a flag without a value, if it was given.
    pub fn switch(&mut self, flag: &str, given: bool) {
        if given {
            self.0 += &format!(" --{flag}");
        }
    }

    /// All flags, each preceded by a space.
    pub fn line(self) -> String {
        self.0
    }
}

/// Quotes a word so that a shell passes it on unchanged.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("tiny-llama:q8_0", "tiny-llama:q8_0")]
    #[case("/srv/möbius/model.gguf", "/srv/möbius/model.gguf")]
    #[case("my model", "'my model'")]
    #[case("it's", r"'it'\''s'")]
    #[case("$(reboot)", "'$(reboot)'")]
    #[case("~/models", "'~/models'")]
    #[case("", "''")]
    fn words_with_special_characters_are_quoted_for_the_shell(#[case] word: &str, #[case] quoted: &str) {
        assert_eq!(super::quoted(word), quoted);
    }
}
