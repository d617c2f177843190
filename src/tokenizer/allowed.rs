//! Which tokenizer.json files are given to the `tokenizers` crate: those whose parts are listed here and stay
//! within limits. The crate trusts its input: with other files it panics, hangs, or takes gigabytes.

use serde_json::{Map, Value};

/// The parts that byte-level BPE and SentencePiece's BPE are made of, for each kind of part.
const KINDS: [Kind; 4] = [
    Kind {
        key: "normalizer",
        inner: "normalizers",
        allowed: &[
            "NFC",
            "NFD",
            "NFKC",
            "NFKD",
            "Lowercase",
            "StripAccents",
            "Strip",
            "Prepend",
            "Replace",
            "ByteLevel",
        ],
    },
    Kind {
        key: "pre_tokenizer",
        inner: "pretokenizers",
        allowed: &[
            "ByteLevel",
            "Split",
            "Digits",
            "Metaspace",
            "Punctuation",
            "Whitespace",
            "WhitespaceSplit",
        ],
    },
    Kind { key: "post_processor", inner: "processors", allowed: &["ByteLevel", "TemplateProcessing"] },
    Kind {
        key: "decoder",
        inner: "decoders",
        allowed: &["ByteLevel", "Metaspace", "ByteFallback", "Fuse", "Replace", "Strip"],
    },
];

/// One kind of part: its key in the file, the key of the list in a `Sequence` of them, and the types that are
/// allowed besides `Sequence`.
struct Kind {
    key: &'static str,
    inner: &'static str,
    allowed: &'static [&'static str],
}

/// The largest number of parts of one kind.
const MOST_PARTS: usize = 64;
/// The longest regular expression, in bytes. Real ones have up to 2,000.
const LONGEST_PATTERN: usize = 1 << 14;
/// The longest text that a part inserts, in bytes.
const LONGEST_TEXT: usize = 64;
/// How many times longer all replacements together may make a text.
const MOST_GROWTH: usize = 1024;
/// The largest number of tokens. Gemma 3 has 262,145.
const MOST_TOKENS: usize = 1 << 19;
/// The longest token in bytes, and the largest number of added tokens.
const LONGEST_TOKEN: usize = 1 << 14;
const MOST_ADDED: usize = 1 << 18;

/// Checks a whole tokenizer.json.
///
/// # Errors
/// It contains a part that is not listed or exceeds a limit, or its model is not a BPE that is complete. The text
/// says which, in one clause.
pub(super) fn check(json: &Value) -> Result<(), String> {
    check_model(&json["model"])?;
    check_added(&json["added_tokens"])?;
    for kind in &KINDS {
        let mut parts = Vec::new();
        collect(&json[kind.key], kind, &mut parts)?;
        let mut growth = 1usize;
        for part in parts {
            growth = growth.saturating_mul(check_part(part, kind)?);
        }
        if growth > MOST_GROWTH {
            return Err(format!("the {}s make a text more than {MOST_GROWTH} times longer", kind.key));
        }
    }
    Ok(())
}

/// Adds the parts in `value`, taking sequences apart.
fn collect<'a>(value: &'a Value, kind: &Kind, parts: &mut Vec<&'a Map<String, Value>>) -> Result<(), String> {
    let object = match value {
        Value::Null => return Ok(()),
        Value::Object(object) => object,
        _ => return Err(format!("{} is not an object", kind.key)),
    };
    let name = object.get("type").and_then(Value::as_str);
    if name == Some("Sequence") {
        let inner = object.get(kind.inner).and_then(Value::as_array);
        let inner = inner.ok_or_else(|| format!("{}: a Sequence has no list {}", kind.key, kind.inner))?;
        return inner.iter().try_for_each(|value| collect(value, kind, parts));
    }
    match name {
        Some(name) if kind.allowed.contains(&name) => parts.push(object),
        Some(name) => return Err(format!("{} of type {name:?} is not supported", kind.key)),
        None => return Err(format!("a {} has no type", kind.key)),
    }
    if parts.len() > MOST_PARTS {
        return Err(format!("has more than {MOST_PARTS} {}s", kind.key));
    }
    Ok(())
}

/// Checks one part. Returns how many times longer it makes a text.
fn check_part(part: &Map<String, Value>, kind: &Kind) -> Result<usize, String> {
    let name = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let wrong = |what: &str| format!("{} {name}: {what}", kind.key);
    let text = |key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default();
    for key in ["content", "prepend", "replacement"] {
        if text(key).len() > LONGEST_TEXT {
            return Err(wrong(&format!("{key} is longer than {LONGEST_TEXT} bytes")));
        }
    }
    match name {
        "Replace" | "Split" => {
            let of = |kind: &str| part.get("pattern")?.get(kind)?.as_str();
            let (pattern, regex) = match of("String") {
                Some(text) => (Some(text), false),
                None => (of("Regex"), true),
            };
            let pattern =
                pattern.filter(|pattern| !pattern.is_empty()).ok_or_else(|| wrong("pattern is empty"))?;
            if pattern.len() > LONGEST_PATTERN {
                return Err(wrong(&format!("pattern is longer than {LONGEST_PATTERN} bytes")));
            }
            let content = text("content").len();
            // An expression may match between any two characters.
            Ok(if regex { content + 1 } else { content.div_ceil(pattern.len()).max(1) })
        }
        // The crate subtracts without checking that a token is long enough.
        "Strip" if kind.key == "decoder" => {
            match (part.get("stop").and_then(Value::as_u64), text("content").is_empty()) {
                (Some(0), false) => Ok(1),
                _ => Err(wrong("only a stop of 0, and a content, are supported")),
            }
        }
        "TemplateProcessing" => check_template(part).map(|()| 1).map_err(|what| wrong(&what)),
        // Each byte may become two.
        "ByteLevel" if kind.key == "normalizer" => Ok(2),
        _ => Ok(1),
    }
}

/// Every special token of a template must be defined, otherwise the crate panics when a text is encoded.
fn check_template(part: &Map<String, Value>) -> Result<(), String> {
    let defined = part.get("special_tokens").and_then(Value::as_object).ok_or("has no special_tokens")?;
    for key in ["single", "pair"] {
        let pieces = part.get(key).and_then(Value::as_array).ok_or_else(|| format!("{key} is not a list"))?;
        if pieces.len() > MOST_PARTS {
            return Err(format!("{key} has more than {MOST_PARTS} pieces"));
        }
        for piece in pieces.iter().filter_map(|piece| piece.get("SpecialToken")) {
            let id = piece["id"].as_str().unwrap_or_default();
            let ids = defined.get(id).ok_or_else(|| format!("{id:?} is not one of its special_tokens"))?;
            let lengths = ["ids", "tokens"].map(|list| ids[list].as_array().map_or(0, Vec::len));
            if lengths[0] != lengths[1] || !(1..=MOST_PARTS).contains(&lengths[0]) {
                return Err(format!("special token {id:?} has {} ids and {} tokens", lengths[0], lengths[1]));
            }
        }
    }
    Ok(())
}

fn check_added(added: &Value) -> Result<(), String> {
    let added = added.as_array().map_or(&[][..], Vec::as_slice);
    if added.len() > MOST_ADDED {
        return Err(format!("has more than {MOST_ADDED} added tokens"));
    }
    let long = |token: &&Value| token["content"].as_str().is_some_and(|text| text.len() > LONGEST_TOKEN);
    match added.iter().find(long) {
        Some(_) => Err(format!("an added token is longer than {LONGEST_TOKEN} bytes")),
        None => Ok(()),
    }
}

/// Refuses a model that is not a BPE, that chooses its merges at random, or whose merges produce no token, on which
/// the crate would panic.
fn check_model(model: &Value) -> Result<(), String> {
    let kind = &model["type"];
    // Old files have no type.
    if !kind.is_null() && kind != "BPE" {
        return Err(format!("model type {kind} is not supported; only BPE is"));
    }
    let vocab = model["vocab"].as_object().ok_or("has no BPE vocabulary")?;
    if vocab.len() > MOST_TOKENS {
        return Err(format!("has {} tokens, more than the limit of {MOST_TOKENS}", vocab.len()));
    }
    if let Some(token) = vocab.keys().find(|token| token.len() > LONGEST_TOKEN) {
        return Err(format!("a token is {} bytes long, more than the limit of {LONGEST_TOKEN}", token.len()));
    }
    if model["continuing_subword_prefix"].as_str().is_some_and(|prefix| !prefix.is_empty()) {
        return Err("continuing_subword_prefix is not supported".into());
    }
    if model["dropout"].as_f64().is_some_and(|dropout| dropout != 0.0) {
        return Err(format!("dropout {}: the same text would have other ids each time", model["dropout"]));
    }
    for merge in model["merges"].as_array().into_iter().flatten() {
        let sides = match merge {
            Value::String(both) => both.split_once(' '),
            both => both[0].as_str().zip(both[1].as_str()),
        };
        let (left, right) = sides.ok_or_else(|| format!("merge {merge} is not a pair"))?;
        if let Some(lost) =
            [left, right, &format!("{left}{right}")].into_iter().find(|side| !vocab.contains_key(*side))
        {
            return Err(format!("merge {merge} needs {lost:?}, which is not a token"));
        }
    }
    Ok(())
}
