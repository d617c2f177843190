use rstest::rstest;

use super::*;
use crate::judge::{Finding, Verdict};
use crate::reference::Config;

/// The outcome of `00` after `change` has modified the reference facts.
fn weights(change: impl FnOnce(&mut ModelFacts)) -> Outcome {
    outcome_of("00", change)
}

fn outcome_of(id: &str, change: impl FnOnce(&mut ModelFacts)) -> Outcome {
    let model = tiny();
    let mut subject = subject(&model, &[]);
    change(subject.model.as_mut().unwrap());
    run(&mut subject, checkpoints::find(id).unwrap()).unwrap()
}

fn the(outcome: &Outcome) -> &Finding {
    assert_eq!(outcome.failures().count(), 1, "{:?}", wrong(outcome));
    outcome.failures().next().unwrap()
}

/// Facts of the tokenizer: its vocabulary, merges, special tokens and chat template.
const TOKENIZER: usize = 4;

#[test]
fn every_key_and_every_tensor_is_judged() {
    let outcome = weights(|_| ());
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 21 + 2 + 4 * 9 + TOKENIZER));
}

#[rstest]
#[case("hidden_size", |c: &mut Config| c.hidden_size += 1)]
#[case("intermediate_size", |c: &mut Config| c.intermediate_size += 1)]
#[case("num_attention_heads", |c: &mut Config| c.num_attention_heads += 1)]
#[case("num_key_value_heads", |c: &mut Config| c.num_key_value_heads += 1)]
#[case("head_dim", |c: &mut Config| c.head_dim += 1)]
#[case("vocab_size", |c: &mut Config| c.vocab_size += 1)]
#[case("max_position_embeddings", |c: &mut Config| c.max_position_embeddings += 1)]
#[case("rms_norm_eps", |c: &mut Config| c.rms_norm_eps *= 1.001)]
#[case("rope_theta", |c: &mut Config| c.rope_theta *= 1.001)]
#[case("tie_word_embeddings", |c: &mut Config| c.tie_word_embeddings ^= true)]
#[case("bos_token_id", |c: &mut Config| c.bos_token_id = Some(77))]
#[case("eos_token_ids", |c: &mut Config| c.eos_token_ids.push(77))]
fn each_config_key_is_compared_with_transformers(#[case] key: &str, #[case] change: fn(&mut Config)) {
    let outcome = weights(|model| change(&mut model.facts.config));
    assert_eq!(the(&outcome).about, key);
}

#[test]
fn another_number_of_layers_also_changes_the_list_of_their_types() {
    let outcome = weights(|model| model.facts.config.num_hidden_layers += 1);
    assert_eq!(wrong(&outcome), ["num_hidden_layers", "layer_types"]);
}

#[test]
fn numbers_that_round_to_the_same_float32_are_equal() {
    let rounded = weights(|model| model.facts.config.rms_norm_eps *= 1.0 + 1e-9);
    assert_eq!(rounded.status(), Status::Passed);
}

const NORM: &str = "model.layers.2.input_layernorm.weight";

#[test]
fn the_bytes_shape_and_presence_of_each_tensor_are_compared() {
    let outcome = weights(|m| m.facts.tensors.get_mut(NORM).unwrap().sha256.replace_range(0..1, "x"));
    assert!(matches!(&the(&outcome).verdict, Verdict::Broken(how) if how.starts_with("SHA-256 ")));
    let outcome = weights(|m| m.facts.tensors.get_mut(NORM).unwrap().shape.push(1));
    assert!(matches!(&the(&outcome).verdict, Verdict::Shape { got, .. } if got == &[128]));
    let outcome = weights(|m| drop(m.facts.tensors.remove(NORM)));
    assert_eq!((the(&outcome).about.as_str(), &the(&outcome).verdict), (NORM, &Verdict::Unclaimed));
    let outcome = weights(|m| {
        let fact = m.facts.tensors[NORM].clone();
        m.facts.tensors.insert("lm_head.weight".into(), fact);
    });
    assert_eq!(the(&outcome).verdict, Verdict::NeverReached);
    assert_eq!(outcome.named()[0].mistake, "absent-tensors");
}

#[test]
fn without_facts_the_checkpoints_that_need_them_are_skipped() {
    let model = tiny();
    let mut subject = subject(&model, &["single"]);
    subject.model = None;
    subject.ports = vec![Box::new(LlamaPort::new(llama(&model, Attention::Plain)))];
    for id in ["00", "08", "09"] {
        let outcome = run(&mut subject, checkpoints::find(id).unwrap()).unwrap();
        assert_eq!((outcome.status(), outcome.findings.len()), (Status::Skipped, 0), "{id}");
    }
    let tokens = run(&mut subject, checkpoints::find("00B").unwrap()).unwrap();
    assert_eq!((tokens.status(), tokens.findings.len()), (Status::Passed, 1));
    assert!(tokens.notes[0].starts_with("texts are not judged: "));
}

#[test]
fn every_text_is_judged_in_both_directions_and_every_chat_is_judged() {
    let (mut texts, mut chats) = (0, 0);
    let outcome = outcome_of("00B", |model| {
        (texts, chats) = (model.tokens.encode.len(), model.tokens.chat.len());
    });
    assert!(texts > 10 && chats > 0);
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 2 * texts + chats));
}

#[test]
fn different_ids_and_texts_fail_and_the_first_difference_is_reported() {
    let outcome = outcome_of("00B", |model| model.tokens.encode[3].ids.push(9));
    // The port encodes one id fewer than the modified reference, and decoding the modified ids gives a longer
    // text.
    let about = wrong(&outcome);
    assert!(about.len() == 2 && about[0].starts_with("encode ") && about[1].starts_with("decode "));
    let finding = outcome.failures().next().unwrap();
    assert!(
        matches!(&finding.verdict, Verdict::Broken(how) if how.ends_with("got nothing, the reference has 9"))
    );

    let outcome = outcome_of("00B", |model| model.tokens.encode[3].decoded.push('!'));
    assert!(the(&outcome).about.starts_with("decode "));

    let outcome = outcome_of("00B", |model| model.tokens.chat[0].ids[1] += 1);
    assert!(the(&outcome).about.starts_with("chat "));
    assert!(
        matches!(&the(&outcome).verdict, Verdict::Broken(how) if how.contains("the first difference is at 1: "))
    );
}

/// Encoding mistakes can be named from the ids; decoding mistakes have no names.
#[test]
fn different_ids_are_explained() {
    let outcome = outcome_of("00B", |model| model.tokens.encode[3].ids.insert(0, 0));
    let explained = |f: &Finding| Some(f.explained.as_ref()?.named[0].says.clone());
    let texts: Vec<Option<String>> = outcome.failures().map(explained).collect();
    assert_eq!(texts, [Some("you leave out BOS (0)".to_owned()), None]);
}

#[test]
fn a_long_text_is_named_by_its_beginning() {
    let outcome = outcome_of("00B", |_| ());
    let about: Vec<&str> = outcome.findings.iter().map(|f| f.about.as_str()).collect();
    for name in ["\"\"", "\"The capital of France is\"", "\"And God said, Let there …\""] {
        assert!(about.contains(&format!("encode {name}").as_str()), "{name}");
        assert!(about.contains(&format!("decode {name}").as_str()), "{name}");
    }
}
