//! `run --dump` on a directory of passes: judges each, and the laws of the cache between them.

use std::path::PathBuf;

use rbees_check::dump::{Against, Judged, Passes, merged};
use rbees_check::judge::{Outcome, Status};
use rbees_check::probe::Arithmetic;
use rbees_check::recording::{Recording, Vocabulary};
use rbees_check::reference::Reference;
use rbees_check::{Error, Result};

use super::description::Description;
use super::dumped::{Dumped, RunOptions};
use super::ending::Ending;
use super::known_model::{KnownModel, case};
use super::progress::Progress;
use super::recording_text;
use super::results::Results;

impl Dumped {
    /// Reads the passes, judges each and the laws between them, and prints the result.
    pub fn judge_passes(
        &self,
        files: Vec<(usize, PathBuf)>,
        vocabulary: &Vocabulary,
        options: &RunOptions<'_>,
        mut results: Results<'_>,
    ) -> Result<Ending> {
        if self.against.is_some() {
            let hint = "compare two passes: --dump DIR/pass-3.safetensors --against OTHER/pass-3.safetensors";
            return Err(Error::input("--against compares two recordings of one pass each", hint));
        }
        let progress = Progress::start("reading the model and its references");
        let model = KnownModel::of(options.common, &[])?;
        let (mut passes, mut cases) = (Passes::default(), Vec::new());
        for (number, file) in files {
            let mut dump = Recording::open(&file, vocabulary)?;
            if let Some(dtype) = options.common.dtype {
                dump.compute_in(dtype.into());
            }
            let arithmetic = if options.blocks { Arithmetic::Blocks32 } else { dump.arithmetic()? };
            let (case, about) = case(&dump, &model, &[])?;
            passes.add(number, dump, &against(&model, case.as_ref(), arithmetic))?;
            cases.push((case, about, arithmetic));
        }
        for (_, dump) in passes.iter() {
            progress.aside(|| self.announce(dump))?;
        }
        let first = passes.iter().next().map(|(_, dump)| dump);
        let Some(first) = first else { return Err(Error::internal("a directory without passes was opened")) };
        let found = cases.iter().map(|(case, about, _)| case.as_ref().map(|_| about.as_str()));
        let found: Vec<Option<&str>> = found.collect();
        progress.aside(|| recording_text::head_of_passes(&passes, &model, &found, results.out))?;
        progress.now("judging");
        let mut judged: Vec<(usize, Judged)> = Vec::new();
        for ((number, dump), (case, _, arithmetic)) in passes.iter().zip(&cases) {
            let against = against(&model, case.as_ref(), *arithmetic);
            judged.push((number, dump.judge(&against, options.checkpoints, self.require_all)?));
        }
        let wrong = |outcome: &Outcome| outcome.status() > Status::Expected;
        let right = judged.iter().all(|(_, judged)| !judged.outcomes.iter().any(wrong));
        let (_, _, arithmetic) = &cases[0];
        let laws = passes.laws(&against(&model, None, *arithmetic), right)?;
        drop(progress);
        let of_each: Vec<(usize, Vec<Outcome>)> =
            judged.iter().map(|(number, judged)| (*number, judged.outcomes.clone())).collect();
        let mut outcomes = merged(&of_each, laws, options.checkpoints);
        outcomes.iter_mut().try_for_each(|outcome| results.outcome(outcome))?;
        results.failures(&outcomes)?;
        results.out.text(&recording_text::of_passes(&judged))?;
        let ids: Vec<&str> = options.checkpoints.iter().map(|checkpoint| checkpoint.id).collect();
        let case = cases.iter().find_map(|(case, ..)| case.as_ref());
        let against_first = against(&model, case, *arithmetic);
        let description = || {
            let recognised = passes.iter().flat_map(|(_, dump)| &dump.recognised);
            let recognised: Vec<String> = recognised.map(ToString::to_string).collect();
            Ok(Description::of_recording(first, &model.name, &against_first)?.recognising(recognised))
        };
        results.report(&outcomes, &ids.join(" "), description)?;
        // The first wrong pass; if none is wrong, the first, which says that there is nothing to write.
        let failed = of_each.iter().position(|(_, outcomes)| outcomes.iter().any(wrong)).unwrap_or(0);
        if let Some(((_, dump), (case, _, arithmetic))) = passes.iter().zip(&cases).nth(failed) {
            let against = against(&model, case.as_ref(), *arithmetic);
            options.bundling.write_recorded(dump, &against, &of_each[failed].1, results.flags)?;
        }
        results.end(&outcomes)
    }
}

fn against<'a>(model: &'a KnownModel, case: Option<&'a Reference>, arithmetic: Arithmetic) -> Against<'a> {
    Against {
        case: case.filter(|case| case.knows(arithmetic)),
        weights: model.weights.as_ref(),
        config: model.config.as_ref(),
        arithmetic,
    }
}
