//! The same forward, once for every feed, written down.

use candle_core::{DType, Device, Tensor};

use super::recorder::Tape;
use crate::judge::{Port, Traits};
use crate::model::Input;
use crate::probe::{Kind, Probe, Site};
use crate::reference::Feed;
use crate::{Error, Result};

/// One forward: what it handed over, and the error that ended it.
pub(super) struct Run {
    pub tape: Tape,
    pub stopped: Option<String>,
}

/// The same forward under each feed that it can be judged under.
pub(super) struct Runs {
    pub own: Run,
    pub block: Option<Run>,
    pub site: Option<Run>,
}

impl Run {
    pub fn new(tape: Tape, error: Option<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        // Candle's errors carry a backtrace behind their first line, where the user asks for some.
        let first_line = |error: String| error.lines().next().unwrap_or_default().to_owned();
        Self { tape, stopped: error.map(|error| first_line(error.to_string())) }
    }

    /// Was any site of this kind handed over?
    pub fn shows(&self, kind: Kind) -> bool {
        self.tape.tensors.keys().any(|site| site.kind == kind)
    }
}

/// Runs the port on its own values, and where it takes truth, on truth.
pub(super) fn all(run: &mut dyn FnMut(Feed) -> Run) -> Result<Runs> {
    let mut run = |feed| {
        let mut run = run(feed);
        run.tape.fault.take().map_or(Ok(run), Err)
    };
    let own = run(Feed::Own)?;
    let mut runs = Runs { own, block: None, site: None };
    let taken = runs.own.tape.taken.clone();
    if runs.own.stopped.is_some() || taken.is_empty() {
        return Ok(runs);
    }
    let site = run(Feed::Site)?;
    same_sequence(&runs.own.tape, &site.tape)?;
    // Truth is never the port's own value to the last bit: a port that computes the same from it has
    // not taken it.
    if same_values(&runs.own.tape, &site.tape)? {
        return Ok(runs);
    }
    runs.site = Some(site);
    if taken.contains(&Kind::Embed) && taken.contains(&Kind::Block) {
        runs.block = Some(run(Feed::Block)?);
    }
    Ok(runs)
}

/// A cache that was not emptied shows as more keys, or as other shapes, in the second run.
fn same_sequence(first: &Tape, second: &Tape) -> Result<()> {
    let grown = |(site, tensor): &(&Site, &Tensor)| {
        second.tensors.get(site).is_some_and(|again| again.dims() != tensor.dims())
    };
    match first.tensors.iter().find(grown) {
        None => Ok(()),
        Some((site, tensor)) => {
            let again = second.tensors[site].dims();
            let what = format!("{site}: {:?} in one run and {again:?} in the next", tensor.dims());
            Err(Error::input(what, "the closure is run more than once: empty the cache at its beginning"))
        }
    }
}

fn same_values(own: &Tape, fed: &Tape) -> Result<bool> {
    let values = |tensor: &Tensor| -> Result<Vec<f64>> {
        Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?)
    };
    let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    for (site, tensor) in &own.tensors {
        if let Some(again) = fed.tensors.get(site)
            && bits(values(tensor)?) != bits(values(again)?)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Hands over what was written down, once more.
pub(super) struct Replay<'a> {
    pub tape: &'a Tape,
    pub traits: &'a Traits,
}

impl Port for Replay<'_> {
    fn traits(&self) -> Traits {
        self.traits.clone()
    }

    fn begin(&mut self) {}

    fn forward(&mut self, _: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        for (&site, tensor) in &self.tape.tensors {
            probe.tap(site, tensor.clone())?;
        }
        // The judge compares what is tapped; what comes back counts for generation only.
        Ok(Tensor::zeros((1, 1, 1), DType::F32, &Device::Cpu)?)
    }
}
