//! The model that is served: its engine, and what turns a request into token ids.

use rbees_check::engine::Engine;
use rbees_check::tokenizer::Tokenizer;
use rbees_check::tokenizer::chat::ChatTemplate;
use serde_json::Value;
use std::sync::Arc;

use super::continued::Prompt;
use super::parameters as p;
use super::problem::Problem;
use super::standing::Standing;
use super::token_text::TokenTexts;

/// A model, ready to answer.
pub struct ServedModel {
    /// The name that clients call it by.
    pub name: String,
    pub engine: Engine,
    pub tokenizer: Arc<Tokenizer>,
    /// Why there is none, if there is none.
    pub template: rbees_check::Result<ChatTemplate>,
    pub texts: TokenTexts,
    /// The number of rows of the embedding.
    pub vocab: usize,
    /// The number of tokens of its context.
    pub context: usize,
    /// The ids that end a text.
    pub end: Vec<u32>,
    /// What is known about whether it computes correctly.
    pub standing: Standing,
}

impl ServedModel {
    /// The ids of a conversation, after the model's own template.
    ///
    /// # Errors
    /// The model has no template, the template refuses the messages, or they have too many tokens.
    pub fn conversation(&self, chat: &Value) -> Result<Vec<u32>, Problem> {
        let name = p::MESSAGES.name;
        let template = self.template.as_ref().map_err(|_| {
            let why = "this model has no chat template; use /v1/completions";
            Problem::unsupported(name, why)
        })?;
        // The error names the file that the template comes from, which is not the client's business.
        let text = template.render_json(&chat.to_string()).map_err(|error| {
            let text = error.to_string();
            let why = text.split_once("chat template: ").map_or("cannot be rendered", |(_, why)| why);
            Problem::invalid(name, format!("the chat template refuses these messages: {why}"))
        })?;
        let ids =
            self.tokenizer.encode(&text, false).map_err(|_| Problem::invalid(name, "cannot be tokenized"))?;
        self.fitting(ids, name)
    }

    /// The ids of a text to continue.
    ///
    /// # Errors
    /// It has no tokens or too many, or an id does not exist.
    pub fn text(&self, prompt: Prompt) -> Result<Vec<u32>, Problem> {
        let name = p::PROMPT.name;
        let ids = match prompt {
            Prompt::Ids(ids) => ids,
            Prompt::Text(text) => self
                .tokenizer
                .encode(&text, true)
                .map_err(|_| Problem::invalid(name, "cannot be tokenized"))?,
        };
        self.fitting(ids, name)
    }

    fn fitting(&self, ids: Vec<u32>, name: &str) -> Result<Vec<u32>, Problem> {
        let known = |id: u32| (id as usize) < self.vocab && self.tokenizer.token(id).is_some();
        if ids.is_empty() {
            Err(Problem::invalid(name, "has no tokens, and this model needs at least one"))
        } else if ids.len() > self.context {
            Err(Problem::too_long(name, ids.len(), self.context))
        } else if let Some(id) = ids.iter().find(|&&id| !known(id)) {
            Err(Problem::invalid(name, format!("this model has no token {id}")))
        } else {
            Ok(ids)
        }
    }
}
