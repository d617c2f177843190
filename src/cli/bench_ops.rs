//! `bench ops`: checks Candle's operations against float64, and times them.

use std::time::Duration;

use candle_core::Device;
use clap::{ArgAction, Args};
use rbees_check::bench::operations::{self, GROUPS};
use rbees_check::bench::report::{FORMAT, Report};
use rbees_check::bench::row::Row;
use rbees_check::bench::speed::{self, Speed};
use rbees_check::bench::{CANDLE, check, known, machine, policy};
use rbees_check::{Error, Result};

use super::ending::Ending;
use super::escape::one_line;
use super::paint::Out;
use super::progress::Progress;
use super::suggest::nearest;
use super::{device, interrupt, threads};

/// How long each way to compute an operation is timed.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Args, Debug)]
pub struct Ops {
    /// Check only this operation, or those whose name begins like this; repeatable
    #[arg(long, value_name = "OP")]
    only: Vec<String>,
    /// Do not time anything
    #[arg(long)]
    quick: bool,
    /// Print the results as JSON
    #[arg(long, conflicts_with = "policy")]
    json: bool,
    /// Print which part of this project uses which operation, with these results, as Markdown
    #[arg(long, conflicts_with = "only")]
    policy: bool,
    /// Device to run on: cpu, cuda[:N], metal[:N], or auto
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    device: String,
    /// Number of threads; plain loops always use one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Print every case
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

impl Ops {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        for typed in &self.only {
            if !operations::names().any(|name| name.starts_with(typed.as_str())) {
                let meant = nearest(typed, operations::names());
                let all = || operations::names().collect::<Vec<_>>().join(", ");
                let hint = meant.map_or_else(all, |name| format!("did you mean `{name}`?"));
                return Err(Error::input(format!("`{}` is not an operation", one_line(typed)), hint));
            }
        }
        threads::start(Some(self.threads))?;
        interrupt::heed();
        let device = device::open(&self.device)?;
        let progress = Progress::start("checking operations");
        let report = self.report(&device, &progress)?;
        drop(progress);
        if self.json {
            let json = serde_json::to_string_pretty(&report);
            out.line(json.map_err(|error| Error::internal(format!("JSON: {error}")))?)?;
        } else if self.policy {
            out.text(&policy::markdown(&report))?;
        } else {
            out.text(&report.text(self.verbose > 0))?;
            out.line(format!("\n{}", report.summary()))?;
        }
        Ok(if report.passed() { Ending::Passed } else { Ending::Failed })
    }

    fn report(&self, device: &Device, progress: &Progress) -> Result<Report> {
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only));
        let mut rows: Vec<Row> = Vec::new();
        let mut speeds: Vec<Speed> = Vec::new();
        for group in GROUPS.iter().filter(|group| group.operations.iter().any(|name| wanted(name))) {
            progress.now(&format!("checking {}", group.operations.join(", ")));
            let cases = (group.cases)().into_iter().filter(|case| wanted(case.operation));
            rows.extend(cases.map(|case| check::check(&case, device)));
            if !self.quick {
                progress.now(&format!("timing {}", group.operations.join(", ")));
                let races = (group.races)(device)?.into_iter().filter(|race| wanted(race.operation));
                speeds.extend(races.map(|race| speed::run(race, PATIENCE)));
            }
        }
        // The defects are listed for the CPU; on another device, each one is new.
        let table = if device.is_cpu() { known::KNOWN } else { &[] };
        let stale = known::recognise(&mut rows, table);
        rows.sort_by(|a, b| (a.operation, a.dtype).cmp(&(b.operation, b.dtype)));
        Ok(Report {
            format: FORMAT,
            candle: CANDLE,
            device: device::name(device),
            processor: machine::processor(),
            threads: self.threads.into(),
            rows,
            speeds,
            stale,
        })
    }
}
