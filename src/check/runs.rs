//! Runs the same forward pass once per feed and records each run.

use candle_core::{DType, Device, Tensor};

use super::recorder::Tape;
use crate::probe::{Kind, Site};
use crate::reference::Feed;
use crate::{Error, Result};

/// One forward pass: what it handed over, and the error that ended it, if any.
pub(super) struct RecordedRun {
    pub tape: Tape,
    pub stopped: Option<String>,
}

/// The same forward pass under each feed that the port supports.
pub(super) struct Runs {
    pub own: RecordedRun,
    pub block: Option<RecordedRun>,
    pub site: Option<RecordedRun>,
}

impl RecordedRun {
    pub fn new(tape: Tape, error: Option<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        // Candle's errors may have a backtrace after their first line.
        let first_line = |error: String| error.lines().next().unwrap_or_default().to_owned();
        Self { tape, stopped: error.map(|error| first_line(error.to_string())) }
    }

    /// Did the port take back what it continued with at a site of this kind?
    pub fn takes(&self, kind: Kind) -> bool {
        self.tape.recording.took_back(kind)
    }

    /// Was any site of this kind handed over?
    pub fn shows(&self, kind: Kind) -> bool {
        self.tape.recording.shows(kind)
    }
}

/// Runs the port on its own values and, if it takes tensors back, with reference inputs.
pub(super) fn all(run: &mut dyn FnMut(Feed) -> RecordedRun) -> Result<Runs> {
    let mut run = |feed| {
        let mut run = run(feed);
        run.tape.fault.take().map_or(Ok(run), Err)
    };
    let own = run(Feed::Own)?;
    let mut runs = Runs { own, block: None, site: None };
    if runs.own.stopped.is_some() || Kind::ALL.iter().all(|&kind| !runs.own.takes(kind)) {
        return Ok(runs);
    }
    let site = run(Feed::Site)?;
    same_sequence(&runs.own.tape, &site.tape)?;
    // Reference values never equal the port's own to the last bit, so a port that computes the same values
    // has not used them.
    if same_values(&runs.own.tape, &site.tape)? {
        return Ok(runs);
    }
    runs.site = Some(site);
    if runs.own.takes(Kind::Embed) && runs.own.takes(Kind::Block) {
        runs.block = Some(run(Feed::Block)?);
    }
    Ok(runs)
}

/// A cache that was not emptied shows as more keys, or as other shapes, in the second run.
fn same_sequence(first: &Tape, second: &Tape) -> Result<()> {
    for (site, tensor) in handed(first) {
        let again = second.recording.handed(site).map_or(tensor.dims(), Tensor::dims);
        if again != tensor.dims() {
            let what = format!("{site}: shape {:?} in one run and {again:?} in the next", tensor.dims());
            let hint = "the closure runs more than once: empty the cache at its start";
            return Err(Error::input(what, hint));
        }
    }
    Ok(())
}

/// What was handed over, in forward order.
fn handed(tape: &Tape) -> impl Iterator<Item = (Site, &Tensor)> {
    let recording = &tape.recording;
    recording.sites().filter_map(|site| Some((site, recording.handed(site)?)))
}

fn same_values(own: &Tape, fed: &Tape) -> Result<bool> {
    let values = |tensor: &Tensor| -> Result<Vec<f64>> {
        Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?)
    };
    let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    for (site, tensor) in handed(own) {
        if let Some(again) = fed.recording.handed(site)
            && bits(values(tensor)?) != bits(values(again)?)
        {
            return Ok(false);
        }
    }
    Ok(true)
}
