//! Judges the recordings of mistakes that were planted in PyTorch.

use candle_core::{DType, Device};
use libtest_mimic::Failed;
use rbees_check::checkpoints;
use rbees_check::judge::{self, Subject};
use rbees_check::model::Attention;
use rbees_check::models;
use rbees_check::reference::Feed;

use super::replay::{Dump, Replay, folder};
use super::{Out, line};

/// Judges each recording under each feed.
pub fn record(out: Out<'_>) -> Result<(), Failed> {
    let model = models::open("smollm2-135m")?;
    let case = model.fixture.as_ref().ok_or("no references")?.case("short")?;
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder())? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let mut subject = Subject::of_cases(&model, vec![], &Device::Cpu, DType::F32, &[] as &[Attention])?;
    for name in names {
        let dump = Dump::read(&name)?.over(Dump::read("none")?);
        for feed in [Feed::Site, Feed::Block, Feed::Own] {
            let length = case.length();
            subject.cases = vec![case.clone().keeping(|site, (_, s)| dump.holds(feed, site, s, length))];
            subject.ports = vec![Box::new(Replay::new(&dump, feed, &subject.config))];
            subject.feed = Some(feed);
            let mut outcomes = Vec::new();
            for checkpoint in checkpoints::ALL {
                if checkpoint.views().iter().any(|view| view.feed == feed) {
                    outcomes.push(judge::run(&mut subject, checkpoint)?);
                }
            }
            line::outcomes(&format!("torch {name} {}", feed.name()), &outcomes, out)?;
        }
    }
    Ok(())
}
