//! `selftest`: plants every mistake of the catalogue into a model and checks that each one is caught.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use clap::Args;
use rayon::prelude::*;
use rbees_check::model::{self, Attention};
use rbees_check::plants::{self, Availability};
use rbees_check::selftest::{self, Bench, MistakeRow, Tally};
use rbees_check::{Error, Result, mistakes, models};

use super::choices::{AttentionChoice, Dtype, MatmulChoice};
use super::ending::Ending;
use super::paint::{self, Out};
use super::progress::Progress;
use super::suggest::nearest;
use super::threads;

/// The heading of the rows that are not in the catalogue.
const OF_FAMILY: &str = "what this family and these settings invite";

#[derive(Args, Debug)]
pub struct Selftest {
    /// Correct model to plant mistakes into: a name that `list` prints
    #[arg(long, value_name = "NAME", default_value = "tiny-llama")]
    model: String,
    /// Data type that the model computes in
    #[arg(long, value_name = "TYPE", value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Multiply by float weights, or by the blocks of a quantised file
    #[arg(long, value_name = "PATH", value_enum, default_value = "dense")]
    matmul: MatmulChoice,
    /// Plant only this mistake; repeatable
    #[arg(long, value_name = "MISTAKE")]
    only: Vec<String>,
    /// Plant on this attention path only [default: both]
    #[arg(long, value_name = "PATH", value_enum)]
    attention: Option<AttentionChoice>,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Selftest {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        self.only.iter().try_for_each(|name| known(name))?;
        threads::start(self.threads)?;
        let progress = Progress::start("reading the model and its references");
        let model = models::open(&self.model)?;
        let bench = Bench::new(&model, self.dtype.into(), self.matmul.into())?;
        let (dtype, matmul) = (bench.dtype().as_str(), model::Matmul::from(self.matmul).name());
        let title = format!("{} · {} · cpu, {dtype}, {matmul}\n", model.name, model.weights.config());
        progress.aside(|| out.line(format!("{title}\n{}", paint::heading(&selftest::matrix()))))?;

        let mut tally = Tally::default();
        let asked =
            |name: &str| self.only.is_empty() || self.only.iter().any(|only| only.eq_ignore_ascii_case(name));
        let chosen =
            |rows: Vec<MistakeRow>| rows.into_iter().filter(|row| asked(row.name)).collect::<Vec<_>>();
        let catch = |row: &MistakeRow| match row.availability {
            Availability::NotHere(_) => Ok(None),
            Availability::Planted(plant) => {
                progress.now(row.name);
                let on: Vec<Attention> = match self.attention {
                    Some(path) => vec![path.into()],
                    None => plant.paths.into(),
                };
                bench.catch_on(plant, &on).map(Some)
            }
        };
        for (heading, rows) in [(None, bench.rows()), (Some(OF_FAMILY), bench.rows_of_family())] {
            let rows = chosen(rows);
            if let Some(heading) = heading.filter(|_| !rows.is_empty()) {
                progress.aside(|| out.line(format!("\n{}", paint::heading(heading))))?;
            }
            in_order(&rows, catch, |row, result| {
                let result = result?;
                tally.count(result.as_ref());
                progress.aside(|| out.line(selftest::line(row, result.as_ref())))
            })?;
        }
        drop(progress);
        out.line(format!("\n{tally}"))?;
        Ok(ending(&tally))
    }
}

/// Runs `catch` for several rows in parallel, and passes every result to `see` in the order of the rows, as
/// soon as this result and all earlier ones are available.
fn in_order<T: Send>(
    rows: &[MistakeRow],
    catch: impl Fn(&MistakeRow) -> T + Sync,
    mut see: impl FnMut(&MistakeRow, T) -> Result<()>,
) -> Result<()> {
    let (send, results) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let rows = rows.iter().enumerate().par_bridge();
            // After an error the receiver is gone, so the remaining rows are not run.
            rows.try_for_each_with(send, |send, (n, row)| send.send((n, catch(row))).ok())
        });
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (n, result) in results {
            waiting.insert(n, result);
            while let Some(result) = waiting.remove(&next) {
                see(&rows[next], result)?;
                next += 1;
            }
        }
        Ok(())
    })
}

fn ending(tally: &Tally) -> Ending {
    match (tally.ran(), tally.holds()) {
        (0, _) => Ending::NotJudged,
        (_, true) => Ending::Passed,
        (_, false) => Ending::Failed,
    }
}

/// Checks that a mistake is in the catalogue.
fn known(name: &str) -> Result<()> {
    let all =
        || mistakes::all().map(|mistake| mistake.name).chain(plants::of_families().map(|plant| plant.name));
    if all().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let hint = nearest(name, all())
        .map_or("run `rbees-check list` to see all names".into(), |meant| format!("did you mean `{meant}`?"));
    Err(Error::input(format!("--only {name}: no such mistake"), hint))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use rbees_check::checkpoints;
    use rbees_check::plants::{self, Plant};

    use super::*;

    #[test]
    fn a_mistake_that_is_not_named_makes_the_command_fail() {
        assert_eq!(ending(&Tally::default()), Ending::NotJudged);
        let mut tally = Tally::default();
        for (name, expected) in [("norm-eps", Ending::Passed), ("norm-plus-one", Ending::Failed)] {
            let declared = Plant { name, fails: &["01"], ..*plants::find("norm-eps").unwrap() };
            let plant: &'static Plant = Box::leak(Box::new(declared));
            let model = models::open("tiny-llama").unwrap();
            let bench = Bench::by(&model, DType::F32, model::Matmul::Dense, &["short"]).unwrap();
            let stage = [checkpoints::find("01").unwrap()];
            let caught = bench.catch_by(plant, plant.paths, &["short".to_owned()], &stage).unwrap();
            tally.count(Some(&caught));
            assert_eq!(ending(&tally), expected);
        }
    }
}
