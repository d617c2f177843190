//! Chat templates, which are programs.

use rstest::rstest;

use super::*;

const CHAT: &[&str] = &["generate", "Hi", "--chat", "--unchecked", "--model", "."];

#[rstest]
#[case::ranges(
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "out of fuel"
)]
#[case::long_range("{{ range(1000000000000)|list }}", "chat template: ")]
#[case::doubling(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "too long"
)]
#[case::replacing(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
    "too long"
)]
#[case::multiplying("{{ 'a' * 1000000000000 }}", "too long")]
#[case::lists("{{ ([0] * 1000000000000)|length }}", "chat template: ")]
#[case::indenting("{{ 'a\na'|indent(1000000000000) }}", "chat template: ")]
#[case::joining("{{ range(99999)|join('x' * 1000000) }}", "too long")]
#[case::nots(&format!("{{{{ {} true }}}}", "not ".repeat(100_000)), "too long or nested too deep")]
#[case::brackets(&format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)), "chat template: ")]
#[case::blocks(&"{% if true %}".repeat(50_000), "chat template: ")]
#[case::recursion("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "chat template: ")]
#[case::not_closed("{{", "chat template: ")]
#[case::division("{{ 1 // 0 }}", "chat template: ")]
#[case::own_message("{{ raise_exception('no \u{1b}[2J\nPASS') }}", "no \\u{1b}[2J\\nPASS")]
#[case::long_message("{{ raise_exception('x' * 100000) }}", "xxx")]
#[case::file("{% include '/etc/passwd' %}", "template not found")]
#[case::import("{% from 'x' import y %}", "template not found")]
#[case::extends("{% extends '/etc/passwd' %}", "chat template: ")]
#[case::class("{{ ''.__class__.__mro__ }}", "undefined value")]
#[case::powers("{{ 9 ** 9 ** 9 }}", "chat template: ")]
#[case::time("{{ strftime_now('%' ~ '9' * 9999 ~ 'd') }}", "is not supported")]
#[case::itself("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns|tojson }}", "chat template: ")]
#[case::deep_lists(
    "{% set ns = namespace(a=[]) %}{% for i in range(90000) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}",
    "chat template: "
)]
#[case::nothing("", "the input has no tokens")]
fn a_template_that_computes_too_much_is_refused(#[case] template: &str, #[case] why: &str) {
    let folder = linked(&[]);
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    refused(folder.path(), CHAT, why);
}

#[rstest]
#[case::not_utf_8("chat_template.jinja", b"{{ messages }}\xff", "is not valid UTF-8 at byte 14")]
#[case::config_not_json("tokenizer_config.json", b"{", "tokenizer_config.json: ")]
#[case::config_key_twice(
    "tokenizer_config.json",
    b"{\"chat_template\": 1, \"chat_template\": 2}",
    "duplicate key"
)]
#[case::no_template("tokenizer_config.json", b"{}", "has no chat template")]
#[case::template_nan("tokenizer_config.json", b"{\"chat_template\": NaN}", "has no chat template")]
#[case::half_a_character(
    "tokenizer_config.json",
    b"{\"chat_template\": \"\\ud83d\"}",
    "tokenizer_config.json: "
)]
fn a_template_that_cannot_be_read_is_refused(#[case] file: &str, #[case] bytes: &[u8], #[case] why: &str) {
    let folder = linked(&[file]);
    fs::write(folder.path().join(file), bytes).unwrap();
    refused(folder.path(), CHAT, why);
}
