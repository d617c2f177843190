//! Answers have OpenAI's form, and say what the model says.

use rstest::rstest;
use serde_json::{Value, json};

use super::client::post;
use super::program::{home, rbees, stdout};
use super::server::Server;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A request for greedy text to both endpoints.
fn request(path: &str, more: Value) -> Value {
    let mut body = json!({ "model": "tiny-llama", "temperature": 0, "max_tokens": 12 });
    let prompt = "And the king said unto";
    body[if path == CHAT { "messages" } else { "prompt" }] =
        if path == CHAT { json!([{ "role": "user", "content": prompt }]) } else { json!(prompt) };
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The answer of a server that has checked nothing.
fn answer(server: &Server, path: &str, more: Value) -> Value {
    let answer = post(server.port, path, &request(path, more));
    assert_eq!((answer.status, answer.header("x-rbees-verdict")), (200, Some("unchecked")));
    answer.json()
}

/// The text of a choice of a whole answer, or of an event.
fn text(choice: &Value) -> &str {
    let places = [&choice["text"], &choice["message"]["content"], &choice["delta"]["content"]];
    places.into_iter().find_map(Value::as_str).unwrap_or_default()
}

#[rstest]
#[case(CHAT, "chat.completion", "chatcmpl-")]
#[case(TEXT, "text_completion", "cmpl-")]
fn a_whole_answer_has_every_field(#[case] path: &str, #[case] object: &str, #[case] prefix: &str) {
    let server = Server::unchecked(&[]);
    let answer = answer(&server, path, json!({}));
    assert_eq!((&answer["object"], &answer["model"]), (&json!(object), &json!("tiny-llama")));
    assert!(
        answer["id"].as_str().unwrap().starts_with(prefix)
            && answer["created"].as_u64() > Some(1_700_000_000)
    );
    let choice = &answer["choices"][0];
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("length")));
    assert_eq!((&choice["limit"], &choice["logprobs"]), (&json!("max_tokens"), &Value::Null));
    assert!(!text(choice).is_empty());
    let usage = |name: &str| answer["usage"][name].as_u64().unwrap();
    assert_eq!(usage("completion_tokens"), 12);
    assert_eq!(usage("total_tokens"), usage("prompt_tokens") + 12);
    if path == CHAT {
        assert_eq!(
            (&choice["message"]["role"], &choice["message"]["refusal"]),
            (&json!("assistant"), &Value::Null)
        );
    }
}

#[test]
fn the_greedy_text_is_that_of_generate() {
    let server = Server::unchecked(&[]);
    let prompt = "And the king said unto";
    let args = ["generate", prompt, "--temperature", "0", "--max-tokens", "12", "--unchecked"];
    let printed = stdout(&rbees(&home(), &args).output().unwrap());
    assert_eq!(format!("{prompt}{}\n", text(&answer(&server, TEXT, json!({}))["choices"][0])), printed);
    let chat = stdout(&rbees(&home(), &[&args[..], &["--chat"]].concat()).output().unwrap());
    assert_eq!(format!("{}\n", text(&answer(&server, CHAT, json!({}))["choices"][0])), chat);
}

#[rstest]
fn a_stream_is_the_whole_answer_in_parts(#[values(CHAT, TEXT)] path: &str) {
    let server = Server::unchecked(&[]);
    let whole =
        answer(&server, path, json!({ "logprobs": if path == CHAT { json!(true) } else { json!(0) } }));
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let mut events = post(server.port, path, &request(path, more)).events();
    let last = events.pop().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    assert!(events.iter().all(|event| event["id"] == last["id"] && event.get("usage").is_none()));
    let joined: String = events.iter().map(|event| text(&event["choices"][0])).collect();
    assert_eq!(joined, text(&whole["choices"][0]));
    let reasons: Vec<&Value> = events.iter().map(|event| &event["choices"][0]["finish_reason"]).collect();
    let (end, before) = reasons.split_last().unwrap();
    assert!(**end == json!("length") && before.iter().all(|reason| reason.is_null()), "{reasons:?}");
    if path == CHAT {
        assert_eq!(events[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
        assert_eq!(events[0]["object"], "chat.completion.chunk");
    }
}

#[rstest]
fn a_stop_string_ends_the_text_before_it(
    #[values(CHAT, TEXT)] path: &str,
    #[values(false, true)] stream: bool,
) {
    let server = Server::unchecked(&[]);
    let free = answer(&server, path, json!({}));
    let free = text(&free["choices"][0]).to_owned();
    // Inside the text, and not at the boundary of a word.
    let at = free.char_indices().nth(free.chars().count() / 2).unwrap().0;
    let stop: String = free[at..].chars().take(3).collect();
    let body = request(path, json!({ "stop": [stop, "never"], "stream": stream }));
    let answer = post(server.port, path, &body);
    let choices: Vec<Value> = if stream {
        answer.events().into_iter().map(|event| event["choices"][0].clone()).collect()
    } else {
        vec![answer.json()["choices"][0].clone()]
    };
    let got: String = choices.iter().map(text).collect();
    assert_eq!(got, free[..free.find(&stop).unwrap()]);
    assert_eq!(choices.last().unwrap()["finish_reason"], "stop");
}

#[test]
fn log_probabilities_of_a_chat_belong_to_its_tokens() {
    let server = Server::unchecked(&[]);
    let answer = answer(&server, CHAT, json!({ "logprobs": true, "top_logprobs": 3 }));
    let choice = &answer["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 12);
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| bytes(&token["bytes"])).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), text(choice));
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        // Greedy: the token is the most likely one.
        assert_eq!(
            (top.len(), &top[0]["token"], &top[0]["logprob"]),
            (3, &token["token"], &token["logprob"])
        );
        let sum: f64 = top.iter().map(|other| other["logprob"].as_f64().unwrap().exp()).sum();
        assert!(sum <= 1.0 + 1e-9, "{sum}");
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect()
}

#[test]
fn log_probabilities_of_a_text_are_lists_of_equal_length() {
    let server = Server::unchecked(&[]);
    let answer = answer(&server, TEXT, json!({ "logprobs": 2 }));
    let logprobs = &answer["choices"][0]["logprobs"];
    let list = |name: &str| logprobs[name].as_array().unwrap();
    assert!(
        ["tokens", "token_logprobs", "top_logprobs", "text_offset"].iter().all(|name| list(name).len() == 12)
    );
    let mut offset = 0;
    for (n, token) in list("tokens").iter().enumerate() {
        assert_eq!(list("text_offset")[n], offset);
        assert_eq!(list("top_logprobs")[n][token.as_str().unwrap()], list("token_logprobs")[n]);
        offset += token.as_str().unwrap().chars().count();
    }
}

#[rstest]
fn each_of_n_choices_is_the_text_of_its_own_seed(#[values(CHAT, TEXT)] path: &str) {
    let server = Server::unchecked(&[]);
    let settings = |seed: u64, n: u64| json!({ "temperature": 1, "seed": seed, "n": n });
    let both = answer(&server, path, settings(41, 2));
    for n in 0..2 {
        let alone = answer(&server, path, settings(41 + n, 1));
        assert_eq!(text(&both["choices"][n as usize]), text(&alone["choices"][0]));
    }
    assert_eq!(both["choices"].as_array().unwrap().len(), 2);
    assert_ne!(text(&both["choices"][0]), text(&both["choices"][1]));
}

#[test]
fn several_prompts_are_numbered_in_order() {
    let server = Server::unchecked(&[]);
    let answer = answer(
        &server,
        TEXT,
        json!({ "prompt": ["And the king", "In the beginning"], "n": 2, "temperature": 0 }),
    );
    let choices = answer["choices"].as_array().unwrap();
    let indices: Vec<&Value> = choices.iter().map(|choice| &choice["index"]).collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    assert!(text(&choices[0]) == text(&choices[1]) && text(&choices[0]) != text(&choices[2]));
}

#[test]
fn characters_are_never_split_between_events() {
    let server = Server::unchecked(&[]);
    // Only the two bytes of é can be drawn, in any order.
    let model = rbees_check::models::open("tiny-llama").unwrap();
    let ids = model.tokenizer().unwrap().encode("é", false).unwrap();
    let bias: Value =
        ids.iter().map(|id| (id.to_string(), json!(100))).collect::<serde_json::Map<_, _>>().into();
    let more = json!({ "temperature": 2, "seed": 5, "max_tokens": 60, "logit_bias": bias });
    let whole = answer(&server, TEXT, more.clone());
    let mut body = request(TEXT, more);
    body["stream"] = json!(true);
    let events = post(server.port, TEXT, &body).events();
    let joined: String = events.iter().map(|event| text(&event["choices"][0])).collect();
    assert!(ids.len() > 1 && joined.contains('é'), "{joined}");
    assert_eq!(joined, text(&whole["choices"][0]));
}

#[rstest]
#[case::top_k(json!({ "temperature": 2, "top_k": 1 }))]
#[case::min_p(json!({ "temperature": 2, "min_p": 1 }))]
#[case::top_p(json!({ "temperature": 2, "top_p": 1e-9 }))]
fn filters_that_keep_one_token_are_greedy(#[case] more: Value) {
    let server = Server::unchecked(&[]);
    let greedy = answer(&server, TEXT, json!({}));
    assert_eq!(text(&answer(&server, TEXT, more)["choices"][0]), text(&greedy["choices"][0]));
}

#[test]
fn a_bias_and_a_frequency_penalty_change_the_tokens() {
    let server = Server::unchecked(&[]);
    let ids = json!({ "70": 100, "71": 99 });
    let tokens = |more: Value| {
        let answer = answer(&server, TEXT, more);
        let tokens = answer["choices"][0]["logprobs"]["tokens"].as_array().unwrap().clone();
        let first = tokens[0].clone();
        (tokens.iter().filter(|token| **token == first).count(), tokens.len())
    };
    // Without a penalty, the token with the larger bias is always drawn, unless the model's logits differ by more.
    let (repeated, all) = tokens(json!({ "logit_bias": { "70": 100 }, "logprobs": 0 }));
    assert_eq!(repeated, all);
    let (repeated, all) =
        tokens(json!({ "logit_bias": ids, "frequency_penalty": 2, "max_tokens": 40, "logprobs": 0 }));
    assert!(repeated < all, "{repeated} of {all}");
}
