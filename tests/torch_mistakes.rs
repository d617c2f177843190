//! Ten mistakes planted in PyTorch, none of them by this project's Rust code: `scripts/plant_in_torch.py`
//! patched transformers and recorded its tensors. The judge must catch each mistake at its site and name it,
//! and must find nothing in the run without a mistake.

mod replay;

use std::collections::BTreeSet;
use std::process::ExitCode;

use candle_core::{DType, Device};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::checkpoints;
use rbees_check::judge::{self, Outcome, Status, Subject, Verdict};
use rbees_check::model::Attention;
use rbees_check::models::{self, Model};
use rbees_check::reference::Feed;
use replay::{Dump, Replay};

/// A planted mistake, by its name in the catalogue, and the expected result.
struct Planted {
    name: &'static str,
    /// All checkpoints that must fail.
    fails: &'static [&'static str],
    /// The first wrong site.
    first: &'static str,
}

const PLANTED: [Planted; 10] = [
    Planted { name: "norm-eps", fails: &["01", "06", "07"], first: "model.layers.0.input_layernorm" },
    Planted { name: "norm-plus-one", fails: &["01", "06", "07"], first: "model.layers.0.input_layernorm" },
    Planted { name: "rope-theta", fails: &["01B", "06", "07"], first: "model.layers.0.self_attn.q_rope" },
    Planted { name: "rope-pairing", fails: &["01B", "06", "07"], first: "model.layers.0.self_attn.q_rope" },
    Planted { name: "head-map", fails: &["03", "06", "07"], first: "model.layers.0.self_attn.scores" },
    Planted { name: "attention-scale", fails: &["03", "06", "07"], first: "model.layers.0.self_attn.scores" },
    Planted { name: "mask-missing", fails: &["03", "06", "07"], first: "model.layers.0.self_attn.scores" },
    Planted { name: "gate-up-swapped", fails: &["05", "06", "07"], first: "model.layers.0.mlp.gate_proj" },
    Planted {
        name: "weight-transposed",
        fails: &["03", "06", "07"],
        first: "model.layers.0.self_attn.o_proj",
    },
    Planted { name: "logit-row", fails: &["07"], first: "lm_head" },
];

/// The run without a mistake. It also supplies the tensors that a mistake does not change.
const CORRECT: &str = "none";

/// At its first wrong site, a mistake must be at least this many budgets from the reference.
const MARGIN: f64 = 10.0;

/// A correct run stays under this share of every budget.
const CORRECT_SHARE: f64 = 0.5;

const MODEL: &str = "smollm2-135m";

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let absent = models::open(MODEL).is_err();
    let trial = |planted: &'static Planted| {
        Trial::test(format!("pytorch_mistake_{}_is_caught_and_named", planted.name).replace('-', "_"), || {
            caught(planted)
        })
        .with_ignored_flag(absent)
    };
    let mut trials: Vec<Trial> = PLANTED.iter().map(trial).collect();
    trials.push(Trial::test("pytorch_run_without_a_mistake_passes", nothing_found).with_ignored_flag(absent));
    trials.push(Trial::test("every_stored_recording_has_a_test", every_dump_is_judged));
    libtest_mimic::run(&args, trials).exit_code()
}

fn caught(planted: &Planted) -> Result<(), Failed> {
    let model = models::open(MODEL)?;
    let outcomes = judged(&model, &Dump::read(planted.name)?.over(Dump::read(CORRECT)?))?;
    let failed = || outcomes.iter().filter(|outcome| outcome.status() != Status::Passed);
    let failing: BTreeSet<&str> = failed().map(|outcome| outcome.checkpoint.id).collect();
    let declared: BTreeSet<&str> = planted.fails.iter().copied().collect();
    let Some(first) = failed().flat_map(Outcome::failures).min_by_key(|finding| finding.site) else {
        return Err("no checkpoint failed".into());
    };
    if failing != declared || first.about != planted.first {
        return Err(format!(
            "{failing:?} failed, first at {}; expected {declared:?}, first at {}",
            first.about, planted.first
        )
        .into());
    }
    match &first.verdict {
        Verdict::Differs(difference) if difference.ratio >= MARGIN => {}
        verdict => return Err(format!("{}: {verdict:?}, not past {MARGIN} budgets", first.about).into()),
    }
    let named: BTreeSet<_> = outcomes.iter().flat_map(|o| o.named()).map(|named| named.mistake).collect();
    if named != BTreeSet::from([planted.name]) {
        return Err(format!("named {named:?}").into());
    }
    Ok(())
}

fn nothing_found() -> Result<(), Failed> {
    let model = models::open(MODEL)?;
    for outcome in judged(&model, &Dump::read(CORRECT)?)? {
        let worst = outcome.worst().map(|finding| &finding.verdict);
        let correct = matches!(worst, Some(Verdict::Pass(share)) if *share < CORRECT_SHARE);
        if outcome.status() != Status::Passed || !correct {
            return Err(format!("{}: {:?}", outcome.checkpoint.id, outcome.findings).into());
        }
    }
    Ok(())
}

/// The outcomes of every checkpoint that judges sites, under each feed, for the sites that the dump contains.
fn judged(model: &Model, dump: &Dump) -> Result<Vec<Outcome>, Failed> {
    let case = model.fixture.as_ref().ok_or("no references")?.case("short")?;
    let length = case.length();
    let mut subject = Subject::of_cases(model, vec![], &Device::Cpu, DType::F32, &[] as &[Attention])?;
    let mut outcomes = Vec::new();
    for feed in [Feed::Site, Feed::Block, Feed::Own] {
        let held = case.clone().keeping(|site, (_, position)| dump.holds(feed, site, position, length));
        subject.cases = vec![held];
        subject.ports = vec![Box::new(Replay::new(dump, feed, &subject.config))];
        subject.feed = Some(feed);
        for checkpoint in checkpoints::ALL {
            if checkpoint.views().iter().any(|view| view.feed == feed) {
                outcomes.push(judge::run(&mut subject, checkpoint)?);
            }
        }
    }
    Ok(outcomes)
}

/// The folder, the manifest and [`PLANTED`] must contain the same mistakes.
fn every_dump_is_judged() -> Result<(), Failed> {
    let listed: BTreeSet<String> = PLANTED.iter().map(|planted| planted.name.to_owned()).collect();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(replay::folder().join("manifest.json"))?)?;
    let made = manifest["mistakes"].as_object().ok_or("no mistakes in the manifest")?;
    let mut folders = BTreeSet::new();
    for entry in std::fs::read_dir(replay::folder())? {
        let entry = entry?;
        if entry.path().is_dir() {
            folders.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if !folders.remove(CORRECT) || folders != listed || !made.keys().eq(listed.iter()) {
        return Err(format!("folders {folders:?}, manifest {:?}, judged {listed:?}", made.keys()).into());
    }
    Ok(())
}
