//! The flags of this run as a line, to run it again.

use clap::ValueEnum;

use super::common::Common;

/// Flags as they stand behind `rbees-check run ID`.
pub struct Flags(String);

impl Flags {
    /// Those that say which model is judged, by what and on what.
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

    /// A flag and its value.
    pub fn text(&mut self, flag: &str, value: &str) {
        self.0 += &format!(" --{flag} {}", quoted(value));
    }

    /// A flag and one of its names, if it was given.
    pub fn choice(&mut self, flag: &str, value: Option<impl ValueEnum>) {
        if let Some(value) = value.as_ref().and_then(ValueEnum::to_possible_value) {
            self.text(flag, value.get_name());
        }
    }

    /// All of them, a blank before each.
    pub fn line(self) -> String {
        self.0
    }
}

/// A word as a shell must read it to pass it on as it is.
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
    fn a_word_is_quoted_where_a_shell_would_read_it_otherwise(#[case] word: &str, #[case] quoted: &str) {
        assert_eq!(super::quoted(word), quoted);
    }
}
