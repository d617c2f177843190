//! `run --stream`: judges a model with only one layer in memory.

use std::time::Duration;

use candle_core::{DType, Device};
use rbees_check::Result;
use rbees_check::checkpoints::Checkpoint;
use rbees_check::judge::{self, Stream, Streamed};
use rbees_check::model::Attention;
use rbees_check::models::Model;
use rbees_check::probe::StageName;
use rbees_check::reference::Feed;

use super::description::Description;
use super::device;
use super::ending::Ending;
use super::own;
use super::progress::Progress;
use super::results::Results;
use super::stderr::say;

/// What is judged, and where.
pub struct StreamedRun<'a> {
    pub model: &'a Model,
    pub prompt: &'a str,
    pub device: &'a Device,
    pub dtype: DType,
    pub attentions: &'a [Attention],
    pub feed: Option<Feed>,
    pub checkpoints: &'a [&'static Checkpoint],
    /// The checkpoints as the command names them.
    pub ids: &'a str,
}

impl StreamedRun<'_> {
    /// Judges the model and prints the result.
    pub fn judge(&self, mut results: Results<'_>, progress: Progress) -> Result<Ending> {
        let Self { model, prompt, device, dtype, attentions, feed, checkpoints, ids } = *self;
        let tokens = own::ids(model, prompt)?;
        let config = model.weights.config();
        let on = device::name(device);
        let head = format!("{} · {config} · {on}, {}, dense\n", model.name, dtype.as_str());
        progress.aside(|| results.out.line(head))?;
        let stream = Stream { model, ids: &tokens, device, dtype, attentions, feed };
        let Streamed { units, case, paths, times } = stream.judge(checkpoints, |stage, layers| {
            progress.now(&match stage {
                StageName::Embedding => "the embedding".to_owned(),
                StageName::Layer(layer) => format!("layer {} of {layers}", layer + 1),
                StageName::Head => "the final norm and the logits".to_owned(),
            });
        })?;
        drop(progress);
        let outcomes = judge::merged(checkpoints, units, feed, |outcome| results.outcome(outcome))?;
        results.failures(&outcomes)?;
        let run = (on.as_str(), dtype, paths, feed);
        results.report(&outcomes, ids, || Description::of_stream(model, run, &case))?;
        say(&of_layers(&times));
        results.end(&outcomes)
    }
}

/// `32 layers: 5.1 s each, 4.9 to 5.4 s`.
fn of_layers(times: &[Duration]) -> String {
    let mut sorted: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => "no layers".into(),
        [least, .., most] => {
            let median = sorted[sorted.len() / 2];
            format!("{} layers: {median:.2} s each, {least:.2} to {most:.2} s", sorted.len())
        }
        [only] => format!("1 layer: {only:.2} s"),
    }
}
