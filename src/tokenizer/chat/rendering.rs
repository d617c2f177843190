//! Renders a template within bounds of time, memory and depth.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use minijinja::machinery::{
    CompiledTemplate, Instruction, Instructions, TemplateConfig, Vm, make_string_output,
};
use minijinja::{AutoEscape, Error, Value, context};

use super::environment::{OPERATORS, environment};
use super::source::{Prepared, WHITESPACE, prepared};

/// How long a template may take. Real ones take a few milliseconds.
const LONGEST: Duration = Duration::from_secs(20);
/// The stack of the thread that renders, in bytes: enough for the nesting that the bounds allow.
const STACK: usize = 64 << 20;

/// Renders `source` with `tokens` and the JSON object `chat`.
///
/// # Errors
/// It fails or exceeds a bound; the text is one line.
pub(super) fn render(source: &str, tokens: &BTreeMap<String, String>, chat: &str) -> Result<String, String> {
    let (source, tokens, chat) = (source.to_owned(), tokens.clone(), chat.to_owned());
    let (send, result) = mpsc::channel();
    let work = move || {
        let rendered = context_of(&tokens, &chat).and_then(|context| rendered(&source, context));
        // The receiver is gone if this took too long.
        let _ = send.send(rendered.map_err(|error| error.to_string()));
    };
    let thread = thread::Builder::new().name("chat template".into()).stack_size(STACK).spawn(work);
    thread.map_err(|error| error.to_string())?;
    match result.recv_timeout(LONGEST) {
        Ok(rendered) => rendered,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(format!("takes longer than {} seconds", LONGEST.as_secs()))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("failed without a message".into()),
    }
}

/// What the template sees. Tools and documents are None if there are none, as in transformers.
fn context_of(tokens: &BTreeMap<String, String>, chat: &str) -> Result<Value, Error> {
    let chat: Value = serde_json::from_str(chat).map_err(|error| {
        Error::new(minijinja::ErrorKind::BadSerialization, format!("the chat is not JSON: {error}"))
    })?;
    let given =
        context! { tools => Value::from(()), documents => Value::from(()), add_generation_prompt => false };
    Ok(context! { ..chat, ..Value::from_serialize(tokens), ..given })
}

fn rendered(source: &str, context: Value) -> Result<String, Error> {
    let Prepared { text: source, longest } = prepared(source)?;
    let environment = environment(longest);
    let config = TemplateConfig {
        syntax_config: Default::default(),
        ws_config: WHITESPACE,
        default_auto_escape: Arc::new(|_| AutoEscape::None),
    };
    let mut template = CompiledTemplate::new("chat template", &source, &config)?;
    bound(&mut template.instructions);
    template.blocks.values_mut().for_each(bound);
    let mut text = String::new();
    let out = &mut make_string_output(&mut text);
    Vm::new(&environment).eval(&template.instructions, context, &template.blocks, out, AutoEscape::None)?;
    Ok(text)
}

/// Replaces the operators whose results may be longer than their operands by functions that bound them.
fn bound(instructions: &mut Instructions<'_>) {
    let [concatenate, add, multiply] = OPERATORS;
    for at in 0..instructions.len() as u32 {
        let Some(instruction) = instructions.get_mut(at) else { continue };
        let function = match instruction {
            Instruction::StringConcat => concatenate,
            Instruction::Add => add,
            Instruction::Mul => multiply,
            _ => continue,
        };
        *instruction = Instruction::CallFunction(function, Some(2));
    }
}
