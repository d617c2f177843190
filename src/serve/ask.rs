//! What a request asks for, whichever endpoint it came to: how many answers, how tokens are chosen, where they end.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use rbees_check::generate::Sampling;
use serde_json::Value;

use super::fields::{Fields, kind};
use super::parameters as p;
use super::problem::Problem;

/// What a request asks for, apart from its prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The model's name, if the request has one.
    pub model: Option<String>,
    /// The number of choices for each prompt.
    pub n: usize,
    /// How tokens are chosen. The choice i uses the seed + i.
    pub sampling: Sampling,
    /// The largest number of tokens, if the request has one.
    pub max_tokens: Option<usize>,
    pub stops: Vec<String>,
    /// Log-probabilities, with this many alternatives.
    pub others: Option<usize>,
    pub stream: Streaming,
}

/// How the answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// In one piece.
    Off,
    On {
        /// Send the numbers of tokens at the end.
        usage: bool,
    },
}

impl Ask {
    /// Reads what both endpoints have in common. `others` is what the endpoint read about log-probabilities.
    pub fn read(fields: &mut Fields, others: Option<usize>) -> Result<Self, Problem> {
        let n = fields.whole(&p::N)?.unwrap_or(1) as usize;
        let (one, other) = (fields.whole(&p::MAX_TOKENS)?, fields.whole(&p::MAX_COMPLETION_TOKENS)?);
        if let (Some(one), Some(other)) = (one, other)
            && one != other
        {
            let why = "max_tokens has another value; give one of the two";
            return Err(Problem::invalid(p::MAX_COMPLETION_TOKENS.name, why));
        }
        Ok(Self {
            model: fields.text(&p::MODEL)?,
            n,
            max_tokens: other.or(one).map(|tokens| tokens as usize),
            stops: stops(fields)?,
            stream: streaming(fields)?,
            sampling: sampling(fields)?,
            others,
        })
    }
}

fn sampling(fields: &mut Fields) -> Result<Sampling, Problem> {
    let sampling = Sampling {
        temperature: fields.number(&p::TEMPERATURE)?.unwrap_or(1.0),
        top_p: fields.number(&p::TOP_P)?,
        top_k: fields.whole(&p::TOP_K)?.filter(|&k| k > 0).map(|k| k as usize),
        min_p: fields.number(&p::MIN_P)?,
        repetition_penalty: fields.number(&p::REPETITION_PENALTY)?.unwrap_or(1.0),
        frequency_penalty: fields.number(&p::FREQUENCY_PENALTY)?.unwrap_or(0.0),
        presence_penalty: fields.number(&p::PRESENCE_PENALTY)?.unwrap_or(0.0),
        logit_bias: biases(fields)?,
        seed: fields.whole(&p::SEED)?.map_or_else(random, |seed| seed as u64),
    };
    sampling.validate().map_err(|error| Problem::of_value("sampling", &error))?;
    Ok(sampling)
}

/// A number that differs from call to call and from process to process.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn stops(fields: &mut Fields) -> Result<Vec<String>, Problem> {
    let name = p::STOP.name;
    let given = match fields.take(name) {
        None => vec![],
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    if given.len() > p::MOST_STOPS {
        return Err(Problem::invalid(
            name,
            format!("{} strings; at most {} are allowed", given.len(), p::MOST_STOPS),
        ));
    }
    let text = |value: Value| match value {
        Value::String(text) if text.is_empty() => {
            Err(Problem::invalid(name, "an empty string would end every text"))
        }
        Value::String(text) if text.chars().count() > p::LONGEST_STOP => {
            Err(Problem::invalid(name, format!("a string is longer than {} characters", p::LONGEST_STOP)))
        }
        Value::String(text) => Ok(text),
        other => Err(Problem::invalid(
            name,
            format!("must be a string or a list of strings, not {}", kind(&other)),
        )),
    };
    given.into_iter().map(text).collect()
}

fn biases(fields: &mut Fields) -> Result<BTreeMap<u32, f64>, Problem> {
    let name = p::LOGIT_BIAS.name;
    let Some(given) = fields.take(name) else { return Ok(BTreeMap::new()) };
    let Value::Object(given) = given else {
        return Err(Problem::invalid(name, format!("must be an object, not {}", kind(&given))));
    };
    if given.len() > p::MOST_BIASES {
        return Err(Problem::invalid(
            name,
            format!("{} tokens; at most {} are allowed", given.len(), p::MOST_BIASES),
        ));
    }
    let bias = |(id, bias): (String, Value)| {
        let wrong =
            || Problem::invalid(name, "must have token ids as keys and numbers from -100 to 100 as values");
        let id: u32 = id.parse().map_err(|_| wrong())?;
        match bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias)).ok_or_else(wrong)? {
            // OpenAI documents −100 as a ban.
            -100.0 => Ok((id, f64::NEG_INFINITY)),
            bias => Ok((id, bias)),
        }
    };
    given.into_iter().map(bias).collect()
}

fn streaming(fields: &mut Fields) -> Result<Streaming, Problem> {
    let on = fields.flag(&p::STREAM)?.unwrap_or(false);
    let name = p::STREAM_OPTIONS.name;
    let mut usage = false;
    if let Some(options) = fields.take(name) {
        let mut options = Fields::of(options, name)?;
        usage = options.flag(&p::INCLUDE_USAGE)?.unwrap_or(false);
        // Padding against an observer of the network, which a proxy with TLS would have to add.
        options.take("include_obfuscation");
        options.finish()?;
    }
    Ok(if on { Streaming::On { usage } } else { Streaming::Off })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Ask, Problem> {
        Ask::read(&mut Fields::of(value, "").unwrap(), None)
    }

    #[test]
    fn the_defaults_are_those_of_openai() {
        let ask = read(json!({"seed": 7})).unwrap();
        assert_eq!(ask.sampling, Sampling { temperature: 1.0, seed: 7, ..Sampling::default() });
        assert_eq!((ask.n, ask.max_tokens, ask.stops.len(), ask.stream), (1, None, 0, Streaming::Off));
        assert_ne!(read(json!({})).unwrap().sampling.seed, read(json!({})).unwrap().sampling.seed);
    }

    #[test]
    fn every_setting_arrives() {
        let ask = read(json!({
            "model": "m", "n": 2, "max_completion_tokens": 9, "stop": ["a", "b"], "stream": true,
            "stream_options": {"include_usage": true}, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
            "repetition_penalty": 1.1, "frequency_penalty": 0.2, "presence_penalty": -0.3, "seed": -1,
            "logit_bias": {"5": -100, "6": 1.5},
        }))
        .unwrap();
        let sampling = Sampling {
            temperature: 0.5,
            top_p: Some(0.9),
            top_k: Some(40),
            min_p: Some(0.1),
            repetition_penalty: 1.1,
            frequency_penalty: 0.2,
            presence_penalty: -0.3,
            logit_bias: [(5, f64::NEG_INFINITY), (6, 1.5)].into(),
            seed: u64::MAX,
        };
        assert_eq!((ask.n, ask.max_tokens, ask.stream), (2, Some(9), Streaming::On { usage: true }));
        assert_eq!((ask.sampling, ask.stops), (sampling, vec!["a".to_owned(), "b".to_owned()]));
    }

    #[rstest]
    #[case(json!({"n": 17}), "n: must be a whole number from 1 to 16")]
    #[case(json!({"top_p": 0}), "top_p: must be a number above 0")]
    #[case(json!({"stop": [""]}), "stop: an empty string")]
    #[case(json!({ "stop": vec!["x"; 17] }), "stop: 17 strings")]
    #[case(json!({"stop": {"a": 1}}), "stop: must be a string or a list of strings, not an object")]
    #[case(json!({"logit_bias": {"a": 1}}), "logit_bias: must have token ids as keys")]
    #[case(json!({"logit_bias": {"1": 101}}), "logit_bias: must have token ids as keys")]
    #[case(json!({"stream": true, "stream_options": {"x": 1}}), "stream_options.x: this server does not know")]
    #[case(json!({"max_tokens": 1, "max_completion_tokens": 2}), "max_completion_tokens: max_tokens has another value")]
    fn values_that_cannot_be_used_are_refused(#[case] value: Value, #[case] message: &str) {
        let problem = read(value).unwrap_err().json();
        assert!(problem.contains(message), "{problem}");
    }
}
