//! Before and while a model is served: judges the path, keeps the report, and ends when a signal asks for it.

use std::net::TcpListener;

use rbees_check::judge::{Gate, GeneratingPath, Outcome, Status};
use rbees_check::{Error, Result, report};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use super::description::Description;
use super::ending::Ending;
use super::escape::one_line;
use super::paint::{self, Out};
use super::stderr::say;
use super::verdicts::VerdictKey;
use super::{device, gate, interrupt};
use crate::serve::{Options, ServedModel, Standing, Verdict, serve};

/// What the cache is tested on if the model has no references.
const PROMPT: &str = "The quick brown fox jumps over the lazy dog.";
/// The largest number of requests that are prepared at the same time.
const PREPARING: usize = 4;

/// The path that is about to be served.
pub struct Opening<'a> {
    pub path: &'a GeneratingPath<'a>,
    /// The flags that judge the same path with `run`.
    pub flags: &'a str,
    pub require_checks: bool,
    pub verbose: u8,
}

/// Whether the path may be served.
pub enum Judged {
    Serve(Standing),
    Refuse(Ending),
}

impl Opening<'_> {
    /// Judges the path, unless its report is stored.
    pub fn judge(&self) -> Result<Judged> {
        let key = gate::key(self.path)?;
        if key.is_none() && self.require_checks {
            let what =
                format!("{}: no stored references, and --require-checks needs some", self.path.model.name);
            return Err(Error::input(what, "capture references with scripts/capture_reference.py"));
        }
        if let Some(report) = key.as_ref().and_then(VerdictKey::report) {
            return Ok(Judged::Serve(Standing::Passed(Verdict::new(report))));
        }
        let GeneratingPath { model, device, dtype, path } = *self.path;
        say(&one_line(&format!(
            "judging {} on {}, {}, {}, before it is served",
            model.name,
            device::name(device),
            dtype.as_str(),
            path.name()
        )));
        let prompt = model.tokenizer()?.encode(PROMPT, true)?;
        let (gate, outcomes) = gate::judge_now(self.path, &prompt, self.verbose + 1)?;
        match gate {
            Gate::Shut(status, what) => Ok(Judged::Refuse(self.refuse(status, &what, &outcomes))),
            Gate::Own => Ok(Judged::Serve(Standing::Own(self.verdict(&outcomes)?))),
            Gate::Open => {
                let verdict = self.verdict(&outcomes)?;
                if let Some(Err(error)) = key.map(|key| key.remember_with(&verdict.report)) {
                    say(&format!("note: the verdict could not be stored: {error}"));
                }
                Ok(Judged::Serve(Standing::Passed(verdict)))
            }
        }
    }

    fn verdict(&self, outcomes: &[Outcome]) -> Result<Verdict> {
        let description = Description::of_path(self.path, &device::name(self.path.device))?;
        let report = description.report(outcomes, &[], Ending::Passed);
        let text = serde_json::to_string_pretty(&report);
        Ok(Verdict::new(text.map_err(|error| Error::internal(format!("JSON: {error}")))?))
    }

    /// Says what is wrong, as `run` does.
    fn refuse(&self, status: Status, what: &str, outcomes: &[Outcome]) -> Ending {
        say("");
        for outcome in outcomes {
            if let Some(detail) = report::detail(outcome, self.flags) {
                say(&paint::status(&detail, outcome.status()));
            }
        }
        if let Some(first) = report::first_wrong(outcomes) {
            say(&format!("{first}\n"));
        }
        say(&format!("refused: {}", one_line(what)));
        say(&format!("hint: run `rbees-check run all{}` for details, or add --unchecked", self.flags));
        if status == Status::Failed { Ending::Failed } else { Ending::NotJudged }
    }
}

/// Serves until a signal asks to end, and then until all requests have been answered.
pub fn run(listener: TcpListener, model: ServedModel, options: Options, out: &mut Out) -> Result<()> {
    let failed = |error: std::io::Error| Error::internal(format!("the server's thread: {error}"));
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(PREPARING)
        .build()
        .map_err(failed)?;
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    interrupt::instead(move || interrupted.cancel());
    let address = listener.local_addr().map_err(failed)?;
    let (name, verdict) = (one_line(&model.name), model.standing.word());
    let served = runtime.block_on(async {
        tokio::spawn(cancel_on_termination(stop.clone()));
        out.line(format!("serving {name} on http://{address} (checks: {verdict})"))?;
        serve(listener, model, options, stop).await
    });
    // What is still being prepared belongs to clients that have left.
    runtime.shutdown_background();
    served?;
    say("stopped: all requests have been answered");
    Ok(())
}

/// Cancels when the process is asked to terminate.
async fn cancel_on_termination(stop: CancellationToken) {
    #[cfg(unix)]
    if let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        signal.recv().await;
        stop.cancel();
    }
    #[cfg(not(unix))]
    stop.cancelled().await;
}
