//! Chat templates: turn messages into the text format that a chat model was trained on.
//!
//! Templates are Jinja, written for Python. They may call the same functions that transformers provides.

mod bounds;
mod clock;
mod environment;
mod json;
mod python;
mod rendering;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

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

/// A model's chat template, and the special tokens that it may write.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    /// By the name that the template knows it by: `bos_token`.
    tokens: BTreeMap<String, String>,
    origin: String,
}

/// The special tokens that transformers gives to a template, as `tokenizer_config.json` names them and as GGUF does.
const TOKENS: [(&str, &str); 7] = [
    ("bos_token", "bos"),
    ("eos_token", "eos"),
    ("unk_token", "unknown"),
    ("sep_token", "seperator"),
    ("pad_token", "padding"),
    ("cls_token", "cls"),
    ("mask_token", "mask"),
];

impl ChatTemplate {
    /// Creates a template from its text and the special tokens that it may write, by name (`bos_token`). `origin`
    /// names it in messages.
    pub fn new(source: &str, tokens: BTreeMap<String, String>, origin: &str) -> Self {
        Self { source: source.to_owned(), tokens, origin: origin.to_owned() }
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
        let named = |(name, gguf): (&str, &str)| Some((name.to_owned(), token(gguf)?));
        Ok(Self::new(source, TOKENS.into_iter().filter_map(named).collect(), origin))
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
        let (path, beside) = (dir.join("tokenizer_config.json"), dir.join("chat_template.jinja"));
        let hint = "this file contains the chat template; without one, use a plain prompt";
        let template = files::read_text_if_there(&beside, TEMPLATE_LIMIT, "save the template as UTF-8 text")?;
        let Some(template) = template else {
            return Self::from_config(
                &files::read_text(&path, CONFIG_LIMIT, hint)?,
                None,
                &path.to_string_lossy(),
            );
        };
        let config = files::read_text_if_there(&path, CONFIG_LIMIT, hint)?.unwrap_or_else(|| "{}".into());
        let this = Self::from_config(&config, Some(template), &path.to_string_lossy())?;
        Ok(Self { origin: beside.to_string_lossy().into_owned(), ..this })
    }

    fn from_config(json: &str, beside: Option<String>, origin: &str) -> Result<Self> {
        let config: Value = files::python_json(json).map_err(|e| Error::file(origin, e, "fetch it again"))?;
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
        let named = |(name, _): (&str, &str)| Some((name.to_owned(), token(name)?));
        Ok(Self::new(&source, TOKENS.into_iter().filter_map(named).collect(), origin))
    }

    /// The template's own text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Turns messages into text, ready for `Tokenizer::encode` *without* special tokens, because a template
    /// writes BOS itself. With `add_generation_prompt`, the text ends where the assistant's answer begins.
    ///
    /// # Errors
    /// The template does not parse, refuses these messages, or computes too much.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let chat =
            serde_json::json!({ "messages": messages, "add_generation_prompt": add_generation_prompt });
        self.render_json(&chat.to_string())
    }

    /// Like [`ChatTemplate::render`], for a chat with everything that transformers' `apply_chat_template` takes: a JSON
    /// object with `messages`, and, if wanted, `tools`, `documents`, `add_generation_prompt` and any other name that the
    /// template reads. Objects keep the order of their keys.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::render`]; `chat` is not such an object.
    pub fn render_json(&self, chat: &str) -> Result<String> {
        let refused = |why: String| {
            // The template may raise an exception with any text.
            let why = files::printable(&why.chars().take(300).collect::<String>());
            let hint = "the template does not accept these messages: try without a system message";
            Error::file(&self.origin, format!("chat template: {why}"), hint)
        };
        rendering::render(&self.source, &self.tokens, chat).map_err(refused)
    }
}

fn no_template(origin: &str) -> Error {
    Error::missing(origin, "has no chat template", "this is not a chat model: use a plain prompt")
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
        let tokens = BTreeMap::from([("bos_token".into(), "<s>".into())]);
        let template = ChatTemplate::new(source, tokens, "test");
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
            assert!(ChatTemplate::new(source, BTreeMap::new(), "t").render(&[], true).is_err(), "{source}");
        }
    }
}
