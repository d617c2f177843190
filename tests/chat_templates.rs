//! Chat templates give the text that transformers gives, and cannot take all time or memory.
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rbees_check::tokenizer::chat::{ChatTemplate, Message};
use rstest::rstest;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chat_templates"))
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, BTreeMap::new(), "chat_template.jinja")
}

/// The texts are those of `scripts/render_chats.py`.
#[rstest]
fn every_chat_is_rendered_as_by_transformers(
    #[values(
        "chatml_generation",
        "deepseek",
        "gemma",
        "granite",
        "llama2",
        "llama3",
        "mistral",
        "phi3",
        "python_values",
        "qwen25",
        "qwen3",
        "smollm2",
        "zephyr"
    )]
    name: &str,
) {
    let read = |path: &str| fs::read_to_string(folder().join(path)).unwrap();
    let rendered: Value = serde_json::from_str(&read("rendered.json")).unwrap();
    let files = |kind: &str| fs::read_dir(folder().join(kind)).unwrap().count();
    assert_eq!(rendered.as_object().unwrap().len(), files("templates"));
    let template = template(&read(&format!("templates/{name}.jinja")));
    let wanted = rendered[name].as_object().unwrap();
    assert_eq!(wanted.len(), files("chats"));
    let mut wrong = Vec::new();
    for (chat, want) in wanted {
        match (template.render_json(&read(&format!("chats/{chat}.json"))), want) {
            (Ok(text), Value::String(want)) if text == *want => {}
            (Err(_), Value::Object(_)) => {}
            (got, want) => wrong.push(format!("{chat}:\n  got  {got:?}\n  want {want:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[rstest]
#[case::nested_loops(
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}"
)]
#[case::doubled_by_replace(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}{{ ns.x }}"
)]
#[case::doubled_by_the_method(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}{{ ns.x }}"
)]
#[case::doubled_by_concatenation(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}"
)]
#[case::doubled_by_addition(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}"
)]
#[case::doubled_list(
    "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | length }}"
)]
#[case::doubled_in_a_block(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}{{ ns.x }}"
)]
#[case::doubled_in_a_macro(
    "{% macro f(x, n) %}{% if n > 0 %}{{ f(x ~ x, n - 1) }}{% else %}{{ x }}{% endif %}{% endmacro %}{{ f('a', 99) }}"
)]
#[case::doubled_by_join(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}{{ ns.x }}"
)]
#[case::doubled_by_json(
    "{% set ns = namespace(x='\"') %}{% for a in range(99) %}{% set ns.x = ns.x | tojson %}{% endfor %}{{ ns.x }}"
)]
#[case::doubled_by_escaping(
    "{% set ns = namespace(x='&') %}{% for a in range(99999) %}{% set ns.x = ns.x | e %}{% endfor %}{{ ns.x * 9999 }}"
)]
#[case::lists_of_lists(
    "{% set ns = namespace(x=[1]) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}"
)]
#[case::lists_of_lists_as_json(
    "{% set ns = namespace(x=[1]) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}"
)]
#[case::a_wide_indent("{{ 'a\nb' | indent(1000000000000) }}")]
#[case::a_wide_indent_of_json("{{ [1] | tojson(indent=1000000000000) }}")]
#[case::a_repeated_text("{{ 'a' * 1000000000000 }}")]
#[case::a_repeated_list("{{ [1] * 1000000000000 }}")]
#[case::a_repeated_list_as_a_list("{{ ([1] * (1000000000)) | list | length }}")]
#[case::many_repeated_texts(&"{{ 'abcdefghij' * 9999999 }}".repeat(9999))]
#[case::a_large_join("{{ range(99999) | join('x' * 99999) }}")]
#[case::a_large_range("{{ range(1000000000000) | list }}")]
#[case::a_large_power("{{ 9 ** 9 ** 9 ** 9 }}")]
#[case::an_endless_macro("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")]
#[case::not_a_filter("{{ 'a' | center(1000000000000) }}")]
#[case::a_wide_format("{{ '{:>1000000000000}'.format('a') }}")]
#[case::much_text_of_its_own(&format!("{{% for a in range(99999) %}}{{% set x %}}{}{{% endset %}}{{% endfor %}}", "long ".repeat(99_999)))]
#[case::many_nots(&format!("{{{{ {} true }}}}", "not ".repeat(100_000)))]
#[case::many_signs(&format!("{{{{ {}1 }}}}", "- ".repeat(100_000)))]
#[case::many_brackets(&format!("{{{{ {} }}}}", "[".repeat(100_000)))]
#[case::many_parentheses(&format!("{{{{ {} }}}}", "(".repeat(100_000)))]
#[case::many_terms(&format!("{{{{ 1{} }}}}", " ~ 1".repeat(100_000)))]
#[case::many_attributes(&format!("{{{{ a{} }}}}", ".a".repeat(100_000)))]
#[case::many_ifs(&"{% if true %}".repeat(100_000))]
#[case::many_elifs(&format!("{{% if false %}}{}{{% endif %}}", "{% elif false %}".repeat(100_000)))]
fn a_template_that_computes_too_much_is_refused_soon(#[case] source: &str) {
    let begin = Instant::now();
    let error = template(source).render(&[], true).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    let line = error.to_string();
    assert!(line.starts_with("chat_template.jinja: chat template: ") && !line.contains('\n'), "{line}");
    assert!(line.len() < 400, "{line}");
}

#[test]
fn a_long_chat_is_rendered() {
    let source = fs::read_to_string(folder().join("templates/qwen3.jinja")).unwrap();
    let message = |n: usize| Message {
        role: if n.is_multiple_of(2) { "user" } else { "assistant" }.into(),
        content: "word ".repeat(200),
    };
    let messages: Vec<Message> = (0..1001).map(message).collect();
    // Some templates are long.
    let source = format!("{source}{{% if false %}}{}{{% endif %}}", "{{ 'never' }}".repeat(5000));
    assert!(template(&source).render(&messages, true).unwrap().len() > 1_000_000);
}

#[test]
fn a_chat_that_is_not_json_is_an_error() {
    assert!(template("x").render_json("{").unwrap_err().to_string().contains("the chat is not JSON"));
}

#[test]
fn todays_date_can_be_written() {
    let text = template("{{ strftime_now('%Y-%m-%d') }}").render(&[], true).unwrap();
    assert!(text.len() == 10 && text.starts_with("20"), "{text}");
}

#[test]
fn the_message_of_an_exception_is_one_short_line() {
    let source = "{{ raise_exception('no\n\u{1b}[31mcats' ~ 'x' * 9999) }}";
    let line = template(source).render(&[], true).unwrap_err().to_string();
    assert!(line.contains("no\\n\\u{1b}[31mcatsxxx") && line.len() < 400, "{line}");
}
