//! Chat templates: turn messages into the text format that a chat model was trained on.
//!
//! Templates are Jinja, written for Python. They may call the same functions that transformers provides.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Environment, ErrorKind, context};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Metadata;
use crate::{Error, Result, files};

/// Size limit for a `tokenizer_config.json`, in bytes. One that lists 6,000 added tokens has 1 MB.
const CONFIG_LIMIT: u64 = 16 << 20;
/// Size limit for a `chat_template.jinja`, in bytes. Those of real models have some 10,000.
const TEMPLATE_LIMIT: u64 = 1 << 20;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text of the message.
    pub content: String,
}

/// A model's chat template, and the tokens that it may write.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    bos: Option<String>,
    eos: Option<String>,
    origin: String,
}

impl ChatTemplate {
    /// Creates a template from its text. `origin` names it in messages.
    pub fn new(source: &str, bos: Option<String>, eos: Option<String>, origin: &str) -> Self {
        Self { source: source.to_owned(), bos, eos, origin: origin.to_owned() }
    }

    /// Reads the template in GGUF metadata.
    ///
    /// # Errors
    /// There is none, because the model is not a chat model.
    pub fn from_gguf(metadata: Metadata<'_>, origin: &str) -> Result<Self> {
        let source = metadata("tokenizer.chat_template");
        let source = source.as_ref().and_then(Value::as_str).ok_or_else(|| no_template(origin))?;
        let tokens = metadata("tokenizer.ggml.tokens");
        let token = |which: &str| {
            let id = metadata(&format!("tokenizer.ggml.{which}_token_id"))?.as_u64()?;
            Some(tokens.as_ref()?.get(usize::try_from(id).ok()?)?.as_str()?.to_owned())
        };
        Ok(Self::new(source, token("bos"), token("eos"), origin))
    }

    /// Reads the template in the text of a `tokenizer_config.json`; of several, the one named `default`.
    ///
    /// # Errors
    /// It is not JSON, or has no template.
    pub fn from_tokenizer_config(json: &str, origin: &str) -> Result<Self> {
        Self::from_config(json, None, origin)
    }

    /// Reads the template of a model's directory: `chat_template.jinja`, otherwise from
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// The directory has no template.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer_config.json");
        let hint = "this file contains the chat template; without one, use a plain prompt";
        let config = files::read_text(&path, CONFIG_LIMIT, hint)?;
        let beside = files::read_text_if_there(&dir.join("chat_template.jinja"), TEMPLATE_LIMIT, hint)?;
        Self::from_config(&config, beside, &path.to_string_lossy())
    }

    fn from_config(json: &str, beside: Option<String>, origin: &str) -> Result<Self> {
        let config: Value = files::json(json).map_err(|e| Error::file(origin, e, "fetch it again"))?;
        let named = |list: &Value| {
            let default = list.as_array()?.iter().find(|entry| entry["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        };
        let inside = &config["chat_template"];
        let source = beside.or_else(|| inside.as_str().map(str::to_owned)).or_else(|| named(inside));
        // A token is a string, or an object with more details.
        let token = |key: &str| {
            let token = &config[key];
            token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
        };
        let source = source.ok_or_else(|| no_template(origin))?;
        Ok(Self::new(&source, token("bos_token"), token("eos_token"), origin))
    }

    /// Turns messages into text, ready for `Tokenizer::encode` *without* special tokens, because a template
    /// writes BOS itself. With `add_generation_prompt`, the text ends where the assistant's answer begins.
    ///
    /// # Errors
    /// The template does not parse, or refuses these messages.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let environment = environment();
        let values = context! {
            messages,
            add_generation_prompt,
            bos_token => self.bos.as_deref().unwrap_or_default(),
            eos_token => self.eos.as_deref().unwrap_or_default(),
        };
        environment.render_str(&self.source, values).map_err(|e| {
            let hint = "the template does not accept these messages: try without a system message";
            Error::file(&self.origin, format!("chat template: {e}"), hint)
        })
    }
}

fn no_template(origin: &str) -> Error {
    Error::file(origin, "has no chat template", "this is not a chat model: use a plain prompt")
}

/// Jinja configured like in transformers: block tags remove the whitespace around them on their line, and
/// Python's methods work on strings and lists.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        strftime(&format, now).map_err(|e| minijinja::Error::new(ErrorKind::InvalidOperation, e))
    });
    environment
}

/// Formats a time, in seconds since 1970 and UTC, like Python's `strftime`. Supports the directives that are
/// used for dates and times.
fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (year, month, day) = civil(seconds / 86_400);
    let name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        out += &match chars.next() {
            Some('Y') => year.to_string(),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('B') => name.to_owned(),
            Some('b') => name[..3].to_owned(),
            Some('H') => format!("{:02}", seconds / 3600 % 24),
            Some('M') => format!("{:02}", seconds / 60 % 60),
            Some('S') => format!("{:02}", seconds % 60),
            Some('%') => "%".to_owned(),
            other => return Err(format!("strftime_now: `%{}` is not supported", other.unwrap_or(' '))),
        };
    }
    Ok(out)
}

/// Converts days since 1970-01-01 to year, month and day of the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    #[test]
    fn a_template_sees_messages_special_tokens_and_the_generation_flag() {
        let source = "{{ bos_token }}{% for m in messages %}\n    {% if m.role != 'user' %}\n{{ raise_exception('only users') }}\n    {% endif %}\n<{{ m['role'] }}>{{ m.content.strip() }}\n{% endfor %}\n{% if add_generation_prompt %}<assistant>{% endif %}";
        let template = ChatTemplate::new(source, Some("<s>".into()), None, "test");
        assert_eq!(template.render(&[say("user", " hi ")], true).unwrap(), "<s><user>hi\n<assistant>");
        let refused = template.render(&[say("cat", "meow")], false).unwrap_err().to_string();
        assert!(refused.contains("only users"), "{refused}");
    }

    #[test]
    fn a_configuration_has_one_template_or_several_with_names() {
        let one = r#"{"chat_template": "A{{ eos_token }}", "eos_token": {"content": "</s>"}}"#;
        let several = r#"{"chat_template": [{"name": "tools", "template": "B"}, {"name": "default", "template": "C"}]}"#;
        for (json, text) in [(one, "A</s>"), (several, "C")] {
            assert_eq!(
                ChatTemplate::from_tokenizer_config(json, "test").unwrap().render(&[], false).unwrap(),
                text
            );
        }
        let none = ChatTemplate::from_tokenizer_config("{}", "dir/tokenizer_config.json").unwrap_err();
        assert_eq!(none.to_string(), "dir/tokenizer_config.json: has no chat template");
    }

    #[test]
    fn a_configuration_with_a_duplicate_key_is_refused() {
        let json = r#"{"chat_template": "A", "chat_template": "B"}"#;
        let error = ChatTemplate::from_tokenizer_config(json, "t").unwrap_err();
        assert_eq!(error.to_string(), "t: duplicate key \"chat_template\" at line 1 column 38");
    }

    #[test]
    fn a_template_file_has_priority_and_is_an_error_if_it_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        let written = || ChatTemplate::from_dir(folder.path())?.render(&[], false);
        write("tokenizer_config.json", br#"{"chat_template": "inside"}"#);
        assert_eq!(written().unwrap(), "inside");
        write("chat_template.jinja", b"beside");
        assert_eq!(written().unwrap(), "beside");
        write("chat_template.jinja", b"\xff");
        let error = written().unwrap_err().to_string();
        assert!(error.ends_with("chat_template.jinja: is not valid UTF-8 at byte 0"), "{error}");
    }

    #[test]
    fn a_template_that_does_not_parse_or_uses_undefined_names_is_an_error() {
        for source in ["{% for %}", "{{ nothing.at.all }}", "{{ strftime_now('%Q') }}", "{{ [] | nofilter }}"]
        {
            assert!(ChatTemplate::new(source, None, None, "t").render(&[], true).is_err(), "{source}");
        }
    }

    #[test]
    fn dates_are_formatted_like_in_python() {
        // From Python: datetime.fromtimestamp(n, timezone.utc).strftime(...)
        for (seconds, text) in [
            (0, "01 Jan 1970 00:00:00"),
            (951_782_399, "28 Feb 2000 23:59:59"),
            (951_782_400, "29 Feb 2000 00:00:00"),
            (1_735_689_599, "31 Dec 2024 23:59:59"),
            (4_107_542_400, "01 Mar 2100 00:00:00"),
        ] {
            assert_eq!(strftime("%d %b %Y %H:%M:%S", seconds).unwrap(), text);
        }
        assert_eq!(strftime("%B %m 100%%", 0).unwrap(), "January 01 100%");
    }
}
