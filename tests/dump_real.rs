//! Records passes of this project's own Llama and judges the recordings. The models are the real one, in
//! floats and on quantised blocks, and a quantised tiny one.

mod recorded;

use std::process::ExitCode;

use candle_core::{DType, Device};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::checkpoints;
use rbees_check::dump::Against;
use rbees_check::judge::{LlamaPort, Port, Status, Verdict};
use rbees_check::model::{Attention, Input, Llama, Matmul, Path};
use rbees_check::models;
use rbees_check::recording::{NameMap, Recording};
use recorded::{Recorded, with_ids, write};

const MODEL: &str = "smollm2-135m";

/// A correct run stays under this share of every budget.
const CORRECT_SHARE: f64 = 0.5;

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let absent = models::open(MODEL).is_err();
    let trial = |name: &str, matmul| {
        Trial::test(name, move || correct_pass(MODEL, matmul, 513)).with_ignored_flag(absent)
    };
    let trials = vec![
        Trial::test("quantized_tiny_llama_passes_at_every_site", || {
            correct_pass("tiny-llama:q8_0", Matmul::Quantized, 71)
        }),
        trial("dense_smollm2_passes_at_every_site", Matmul::Dense),
        trial("quantized_smollm2_passes_at_every_site", Matmul::Quantized),
    ];
    libtest_mimic::run(&args, trials).exit_code()
}

fn correct_pass(name: &str, matmul: Matmul, sites: usize) -> Result<(), Failed> {
    let model = models::open(name)?;
    let case = model.fixture.as_ref().ok_or("no references")?.case("short")?;
    let path = Path { attention: Attention::Plain, matmul };
    let mut port = LlamaPort::new(Llama::load(&model.weights, &Device::Cpu, DType::F32, path)?);
    let mut recorded = Recorded::default();
    port.forward(&Input::single(&case.manifest.ids[0], 0), &mut recorded)?;
    let arithmetic = port.traits().arithmetic;

    let folder = tempfile::tempdir()?;
    let file = write(folder.path(), &with_ids(recorded.0, &case.manifest.ids[0]));
    // The rows of q and k in a GGUF file are ordered in neighbouring pairs.
    let layout = "[layout]\n\"self_attn.q_proj\" = \"interleaved\"\n\"self_attn.k_proj\" = \"interleaved\"\n\
                  \"self_attn.q_rope\" = \"interleaved\"\n\"self_attn.k_rope\" = \"interleaved\"\n";
    let map: NameMap = toml::from_str(layout)?;
    let dump = Recording::open(&file, &map.vocabulary()?)?;
    let weights = models::right_weights(&model)?;
    let config = Some(weights.config());
    let against = Against { case: Some(&case), weights: Some(&weights), config, arithmetic };
    let judged = dump.judge(&against, &checkpoints::ALL, true)?;

    if judged.coverage.recorded != sites || judged.coverage.all != sites {
        return Err(format!("{:?}", judged.coverage).into());
    }
    for outcome in &judged.outcomes {
        let share = outcome.worst().map_or(0.0, |finding| match finding.verdict {
            Verdict::Pass(share) => share,
            _ => f64::INFINITY,
        });
        if outcome.status() > Status::Skipped || share > CORRECT_SHARE {
            let first = outcome.failures().next().map(|finding| (&finding.about, &finding.verdict));
            return Err(format!("{} at {share:.2} of a budget: {first:?}", outcome.checkpoint.id).into());
        }
        println!("{} {:.1}% {:?}", outcome.checkpoint.id, share * 100.0, outcome.worst().map(|f| &f.about));
    }
    Ok(())
}
