//! The results of a run over the operations, as text and as JSON.

use serde::Serialize;

use super::row::{Row, State};
use super::speed::{Speed, Way};

/// The version of the JSON report. A field that is removed or changes its meaning needs a new one.
pub const FORMAT: u32 = 1;

/// Everything that a run over the operations found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of Candle.
    pub candle: &'static str,
    /// The device, as `--device` names it.
    pub device: String,
    /// Processor architecture, and the instruction sets that decide which kernels run.
    pub processor: String,
    /// Number of threads.
    pub threads: usize,
    /// One row per case.
    pub rows: Vec<Row>,
    /// The races; none if nothing was timed.
    pub speeds: Vec<Speed>,
    /// Known defects that did not appear, one line each.
    pub stale: Vec<String>,
}

impl Report {
    /// How many rows end in this state.
    pub fn count(&self, state: State) -> usize {
        self.rows.iter().filter(|row| row.state() == state).count()
    }

    /// Did every case pass, apart from known defects, all of which appeared?
    pub fn passed(&self) -> bool {
        !self.rows.is_empty() && self.count(State::New) == 0 && self.stale.is_empty()
    }

    /// The summary line.
    pub fn summary(&self) -> String {
        format!(
            "operations: {} right, {} known defects, {} new defects, {} stale",
            self.count(State::Right),
            self.count(State::Known),
            self.count(State::New),
            self.stale.len()
        )
    }

    /// One line per operation and dtype, a line per defect, and the races. With `every_row`, a line for every case.
    pub fn text(&self, every_row: bool) -> String {
        let mut text = format!(
            "candle {} on {} ({}), {} thread{}\n\n",
            self.candle,
            self.device,
            self.processor,
            self.threads,
            if self.threads == 1 { "" } else { "s" }
        );
        text += &format!(
            "{:<17} {:<5} {:>5} {:>6} {:>6} {:>4} {:>11} {:>9} {:>7}  {:<9} {}\n",
            "operation",
            "dtype",
            "cases",
            "right",
            "known",
            "new",
            "worst ulps",
            "rel. err",
            "bias",
            "row alone",
            "NaN"
        );
        for rows in self.rows.chunk_by(|a, b| a.operation == b.operation && a.dtype == b.dtype) {
            text += &of_dtype(rows);
            text += &rows.iter().flat_map(|row| of_row(row, every_row)).collect::<String>();
        }
        if !self.stale.is_empty() {
            text += "\nlisted defects that did not appear: remove them from src/bench/known.rs and the documents\n";
            text += &self.stale.iter().map(|line| format!("  {line}\n")).collect::<String>();
        }
        if !self.speeds.is_empty() {
            text += "\nshortest time of a call; \"gain\" is how many times faster Candle's operation is\n";
            text += &self.speeds.iter().map(of_speed).collect::<String>();
        }
        text
    }
}

/// The summary of the cases of one operation and dtype.
fn of_dtype(rows: &[Row]) -> String {
    let count = |state| rows.iter().filter(|row| row.state() == state).count();
    let right: Vec<&Row> = rows.iter().filter(|row| row.state() == State::Right).collect();
    let most = |of: fn(&Row) -> f64| {
        right.iter().map(|row| of(row)).fold(0f64, |a, b| if b.abs() > a.abs() { b } else { a })
    };
    let all = |of: fn(&Row) -> Option<bool>, yes, no| {
        let answers: Vec<bool> = rows.iter().filter_map(of).collect();
        if answers.is_empty() {
            "-"
        } else if answers.iter().all(|&answer| answer) {
            yes
        } else {
            no
        }
    };
    format!(
        "{:<17} {:<5} {:>5} {:>6} {:>6} {:>4} {:>11.2} {:>9.1e} {:>+7.2}  {:<9} {}\n",
        rows[0].operation,
        rows[0].dtype,
        rows.len(),
        count(State::Right),
        count(State::Known),
        count(State::New),
        most(|row| row.worst_ulps),
        most(|row| row.relative_error),
        most(|row| row.bias),
        all(|row| row.row_alone, "same bits", "differs"),
        all(|row| row.nan, "kept", "lost"),
    )
}

/// A line for a row that is not right, or, if wanted, for any.
fn of_row(row: &Row, every_row: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if every_row {
        lines.push(format!(
            "    {:<44} {:>8} entries {:>9.2} ulps {:>8.1e} {:>+6.2} {:>5.0}% of budget\n",
            row.case,
            row.entries,
            row.worst_ulps,
            row.relative_error,
            row.bias,
            100.0 * row.share_of_budget
        ));
    }
    for fault in &row.faults {
        let known = fault.known.map_or("NEW".to_owned(), |name| format!("known: {name}"));
        lines.push(format!("  {:<40} {:<9} {} [{known}]\n", row.case, fault.check.name(), fault.found));
    }
    lines
}

/// A race: Candle's time, then each other way with the gain.
fn of_speed(speed: &Speed) -> String {
    let head = format!("{:<17} {:<5} {}\n", speed.operation, speed.dtype, speed.size);
    let lines = speed.times.iter().map(|time| {
        let name = if time.call.is_empty() {
            time.way.name().to_owned()
        } else {
            format!("{}: {}", time.way.name(), time.call)
        };
        let Some(seconds) = time.seconds else { return format!("    {name:<52} failed\n") };
        let rate = if speed.flops as f64 > speed.bytes as f64 * 4.0 {
            format!("{:.1} GFLOP/s", speed.flops as f64 / seconds / 1e9)
        } else {
            format!("{:.1} GB/s", speed.bytes as f64 / seconds / 1e9)
        };
        let gain = match (time.way, speed.of(Way::Candle)) {
            (Way::Candle, _) | (_, None) => String::new(),
            (_, Some(candle)) => format!("  gain {:.2}", seconds / candle),
        };
        format!("    {name:<52} {:>10.3} ms  {rate:>14}{gain}\n", seconds * 1e3)
    });
    head + &lines.collect::<String>()
}
