//! Generated tokens as text and as JSON lines: stop strings, incomplete characters, log-probabilities.

use std::process::{Command, Output};

use insta::assert_snapshot;
use proptest::prelude::*;
use rbees_check::Result;
use rbees_check::generate::{Continuation, Decoder, Finish, Generation, Sampling, Stops};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rbees_check::tokenizer::Tokenizer;
use rstest::rstest;
use serde_json::Value;

/// A decoder that generates the given ids.
struct Script {
    ids: Vec<u32>,
    vocab: usize,
    fed: usize,
}

impl Decoder for Script {
    fn feed(&mut self, _: &[u32]) -> Result<Vec<f32>> {
        let mut logits = vec![0.0; self.vocab];
        logits[self.ids[self.fed] as usize] = 1.0;
        self.fed += 1;
        Ok(logits)
    }

    fn room(&self) -> usize {
        self.ids.len() - self.fed
    }
}

/// Generates these ids after a prompt. Returns the text, the number of generated tokens and why it ended.
fn streamed(tokenizer: &Tokenizer, prompt: &str, ids: &[u32], stops: &[String]) -> (String, usize, Finish) {
    let script = Script { ids: [ids, &[0]].concat(), vocab: tokenizer.vocab_size(), fed: 0 };
    let prompt = tokenizer.encode(prompt, true).unwrap();
    let generation = Generation::start(script, prompt, Sampling::default(), ids.len(), &[]).unwrap();
    let stops = Stops::new(stops.to_vec()).unwrap();
    let mut continuation = Continuation::new(generation, tokenizer, stops).unwrap();
    let text = continuation.by_ref().map(|piece| piece.unwrap().text).collect();
    (text, continuation.generation().generated().len(), continuation.finish().unwrap())
}

/// The ids of these pieces in a vocabulary with byte fallback. A piece without a token of its own becomes
/// bytes.
fn with_bytes(tokenizer: &Tokenizer, pieces: &[&str]) -> Vec<u32> {
    let whole = |piece: &str| tokenizer.id(&piece.replace(' ', "▁"));
    let bytes = |piece: &str| piece.bytes().map(|b| tokenizer.id(&format!("<0x{b:02X}>")).unwrap()).collect();
    pieces.iter().flat_map(|piece| whole(piece).map_or_else(|| bytes(piece), |id| vec![id])).collect()
}

/// Cuts a text at some of the boundaries between its characters.
fn pieces(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    places.extend([0, text.len()]);
    places.retain(|&place| text.is_char_boundary(place));
    places.sort_unstable();
    places.windows(2).map(|pair| text[pair[0]..pair[1]].to_owned()).filter(|p| !p.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stop_strings_end_the_text_at_the_same_place_for_any_tokenization(
        text in "[and .\né日]{1,20}",
        stops in prop::collection::vec("[and .\né日]{1,4}", 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut watch = Stops::new(stops.clone()).unwrap();
        let want = watch.push(&text) + &watch.finish();
        let pieces = pieces(&text, &cuts);
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();

        let byte_level = models::open("tiny-llama").unwrap().tokenizer.unwrap();
        let ids: Vec<u32> = pieces.iter().flat_map(|p| byte_level.encode(p, false).unwrap()).collect();
        prop_assert_eq!(&streamed(&byte_level, "And", &ids, &stops).0, &want);

        let fallback = models::open("tiny-llama2").unwrap().tokenizer.unwrap();
        let ids = with_bytes(&fallback, &pieces);
        prop_assert_eq!(&streamed(&fallback, "And", &ids, &stops).0, &want);
    }
}

#[test]
fn generation_ends_with_the_token_that_completes_a_stop_string() {
    let tokenizer = models::open("tiny-llama").unwrap().tokenizer.unwrap();
    let ids = tokenizer.encode(" the LORD said unto Moses", false).unwrap();
    let complete = (1..=ids.len()).find(|&n| tokenizer.decode(&ids[..n]).unwrap().contains("RD sa")).unwrap();
    let (text, tokens, finish) = streamed(&tokenizer, "And", &ids, &["RD sa".into()]);
    assert_eq!((text.as_str(), tokens, finish), (" the LO", complete, Finish::StopString));
}

#[test]
fn a_stop_string_of_byte_tokens_is_detected_when_the_bytes_are_decoded() {
    let tokenizer = models::open("tiny-llama2").unwrap().tokenizer.unwrap();
    let ids = with_bytes(&tokenizer, &["a", "\n", "b", "c"]);
    assert_eq!(streamed(&tokenizer, "And", &ids, &["\n".into()]), ("a".into(), 3, Finish::StopString));
    let last = streamed(&tokenizer, "And", &ids[..2], &["\n".into()]);
    assert_eq!(last, ("a".into(), 2, Finish::StopString), "the end of generation decodes the bytes too");
}

#[rstest]
#[case::incomplete_character(&[0xE6, 0x97], "��")]
#[case::incomplete_character_then_a_letter(&[0xE6, 0x97, b'x'], "���")] // a run of bytes is valid as a whole or not at all
fn invalid_bytes_become_replacement_characters(#[case] bytes: &[u8], #[case] want: &str) {
    let tokenizer = models::open("tiny-llama2").unwrap().tokenizer.unwrap();
    let ids: Vec<u32> = bytes.iter().map(|b| tokenizer.id(&format!("<0x{b:02X}>")).unwrap()).collect();
    assert_eq!(streamed(&tokenizer, "And", &ids, &["stop".into()]).0, want);
}

#[rstest]
#[case("tiny-llama")]
#[case("tiny-llama2")]
fn bytes_at_the_end_of_the_prompt_are_not_repeated_in_the_output(#[case] model: &str) {
    let tokenizer = models::open(model).unwrap().tokenizer.unwrap();
    let a = tokenizer.id("a").unwrap();
    assert_eq!(streamed(&tokenizer, "And é", &[a, a], &[]).0, "aa");
}

/// Runs `generate` with a fresh home directory.
fn generate(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rbees-check"));
    command.args(["generate", "And the king", "--unchecked"]).args(args).current_dir("/");
    command.env("RBEES_HOME", home.path()).output().unwrap()
}

/// The JSON lines that `generate --json` prints.
fn lines(args: &[&str]) -> Vec<Value> {
    let output = generate(&[&["--json"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Rounds every log-probability to two digits. Further digits depend on the machine.
fn rounded(value: &mut Value) {
    match value {
        Value::Number(n) if n.is_f64() => {
            *value = ((n.as_f64().unwrap() * 1e2).round() / 1e2).into();
        }
        Value::Array(values) => values.iter_mut().for_each(rounded),
        Value::Object(fields) => fields.values_mut().for_each(rounded),
        _ => {}
    }
}

#[test]
fn json_output_has_one_line_per_token_and_a_final_line() {
    let mut lines =
        lines(&["--temperature", "0", "--stop", "unto", "--top-logprobs", "2", "--max-tokens", "9"]);
    lines.iter_mut().for_each(rounded);
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    assert_snapshot!("json", text.join("\n"));
}

#[test]
fn log_probabilities_match_the_models_logits() {
    let args = ["--max-tokens", "8", "--top-k", "5", "--logit-bias", "269=1.5", "--logit-bias", "201=-inf"];
    let mut lines = lines(&[&args[..], &["--top-logprobs", "512", "--seed", "3"]].concat());
    let end = lines.pop().unwrap();
    let model = models::open("tiny-llama").unwrap();
    let prompt = model.tokenizer().unwrap().encode("And the king", true).unwrap();
    let ids: Vec<u32> = lines.iter().map(|line| line["id"].as_u64().unwrap() as u32).collect();
    let all = [&prompt[..], &ids].concat();
    let device = candle_core::Device::Cpu;
    let llama = Llama::load(&model.weights, &device, candle_core::DType::F32, Attention::Plain).unwrap();
    let logits = llama.forward(&Input::single(&all, 0), &mut llama.new_cache(), &mut ()).unwrap();
    let logits: Vec<Vec<f32>> = logits.squeeze(0).unwrap().to_vec2().unwrap();
    let sampling = Sampling {
        temperature: 0.8,
        top_k: Some(5),
        logit_bias: [(269, 1.5), (201, f64::NEG_INFINITY)].into(),
        ..Sampling::default()
    };
    let neutral = Sampling { temperature: 1.0, ..Sampling::default() };

    for (step, line) in lines.iter().enumerate() {
        let place = prompt.len() + step;
        let probs = |sampling: &Sampling| sampling.distribution(&logits[place - 1], &all[..place]).unwrap();
        let (sampled, raw) = (probs(&sampling), probs(&neutral));
        let others = line["top_logprobs"].as_array().unwrap();
        assert_eq!(others.len(), 512);
        let mut barred = 0;
        for one in others.iter().chain([line]) {
            let id = one["id"].as_u64().unwrap() as usize;
            let near = |got: &Value, p: f64| (got.as_f64().unwrap() - p.ln()).abs() < 1e-4;
            assert!(near(&one["raw_logprob"], raw[id]), "{one}");
            if one["logprob"].is_null() {
                barred += usize::from(sampled[id] == 0.0)
            } else {
                assert!(near(&one["logprob"], sampled[id]), "{one}")
            }
        }
        assert_eq!(barred, 512 - 5, "at {step}");
        assert_eq!(one_of(model.tokenizer().unwrap(), line), ids[step]);
    }
    let texts: String = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(end["text"], texts.as_str());
    let whole = model.tokenizer().unwrap().decode_skipping_special(&all).unwrap();
    assert_eq!(whole, format!("And the king{texts}"));
    assert_eq!((&end["prompt_tokens"], &end["tokens"]), (&prompt.len().into(), &8.into()));
}

fn one_of(tokenizer: &Tokenizer, line: &Value) -> u32 {
    tokenizer.id(line["token"].as_str().unwrap()).unwrap()
}

#[test]
fn logit_bias_forces_a_token_or_excludes_it() {
    let tokenizer = models::open("tiny-llama").unwrap().tokenizer.unwrap();
    let token = tokenizer.id("z").unwrap();
    let greedy = ["--temperature", "0", "--max-tokens", "4", "--logit-bias"];
    let text = |bias: String| lines(&[&greedy[..], &[&bias]].concat()).pop().unwrap()["text"].clone();
    assert_eq!(text(format!("{token}=1e3")), "zzzz");
    let first = lines(&greedy[..4])[0]["id"].as_u64().unwrap();
    assert!(lines(&[&greedy[..], &[&format!("{first}=-inf")]].concat()).iter().all(|l| l["id"] != first));
}

#[rstest]
#[case::no_value(&["--logit-bias", "42"], "give a token id, `=` and a number, for example 42=-3.5")]
#[case::text_instead_of_an_id(&["--logit-bias", "the=2"], "give a token id, `=` and a number, for example 42=-3.5")]
#[case::id_outside_the_vocabulary(&["--logit-bias", "512=1"], "logit bias of token 512: there is no such token")]
#[case::duplicate_id(&["--logit-bias", "5=1", "--logit-bias", "5=2"], "--logit-bias: token 5 has two")]
#[case::infinite(&["--logit-bias", "5=inf"], "logit bias of token 5 inf is not allowed")]
#[case::empty_stop(&["--stop", ""], "a stop string must not be empty")]
#[case::min_p(&["--min-p", "1.5"], "min-p 1.5 is not allowed")]
#[case::penalty(&["--repetition-penalty", "0"], "repetition penalty 0 is not allowed")]
#[case::text_has_no_logprobs(&["--top-logprobs", "2"], "--json")]
fn invalid_sampling_flags_are_refused_before_any_output(#[case] args: &[&str], #[case] what: &str) {
    let output = generate(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(what), "{stderr}");
}
