//! The recorder that a port hands its tensors to.

use std::fmt::Display;

use candle_core::{Device, Tensor};

use super::turned::{site_of, to_port, to_reference};
use crate::judge::{Traits, case_input, substitute_reference};
use crate::probe::{Kind, Probe, Site};
use crate::recording::{Recording, Vocabulary};
use crate::reference::{Feed, Reference};
use crate::{Error, Result};

/// Receives a port's tensors by name. It returns the tensor that the port must continue with: the reference's
/// if the operation after it is judged on reference inputs, otherwise the port's own.
pub struct Recorder<'a> {
    case: &'a Reference,
    vocabulary: &'a Vocabulary,
    traits: &'a Traits,
    feed: Feed,
    tape: Tape,
}

/// The record of one forward pass.
pub(super) struct Tape {
    /// What was handed over, in the reference's axis order, and what was returned.
    pub recording: Recording,
    /// A misuse of the recorder: the run cannot be judged, even if the port ignores the error.
    pub fault: Option<Error>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        case: &'a Reference,
        vocabulary: &'a Vocabulary,
        traits: &'a Traits,
        feed: Feed,
    ) -> Self {
        let recording = Recording::in_memory(traits.path, case_input(case), traits.dtype);
        Self { case, vocabulary, traits, feed, tape: Tape { recording, fault: None } }
    }

    pub(super) fn into_tape(self) -> Tape {
        self.tape
    }

    /// Hands over the tensor at the site `name`, with the shape that [`Kind`] gives for it. Continue with the
    /// returned tensor: it has the same shape, dtype and device, is contiguous, and may contain reference
    /// values instead.
    ///
    /// # Errors
    /// The name is not a site, or the site was already handed over in this forward pass. [`Check::run`]
    /// returns the error.
    ///
    /// [`Check::run`]: super::Check::run
    pub fn tap(&mut self, name: impl Display, tensor: Tensor) -> Result<Tensor> {
        let (site, given) = self.write_down(name, &tensor)?;
        let Some(given) = given else {
            self.tape.recording.continue_with(site, tensor.clone());
            return Ok(tensor);
        };
        let window = 0..self.case.length();
        let back = substitute_reference(Some((self.case, self.feed)), self.traits, &window, site, given)?;
        self.tape.recording.continue_with(site, back.clone());
        Ok(to_port(self.vocabulary, self.case, site, &back, tensor.dims()).unwrap_or(tensor))
    }

    /// Hands over values at the site `name`, in row-major order, from a port that has no Candle tensors.
    /// Nothing is returned, so whatever the port computes from them is judged on its own values.
    ///
    /// # Errors
    /// As for [`Recorder::tap`]; also if the number of values does not match the shape.
    pub fn tap_raw(&mut self, name: impl Display, shape: &[usize], values: &[f32]) -> Result<()> {
        let holds = shape.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        if holds != Some(values.len()) {
            let what = format!("{name}: {} values do not fill the shape {shape:?}", values.len());
            return Err(self.fail(Error::input(what, "give the shape of the values, batch first")));
        }
        self.write_down(name, &Tensor::from_slice(values, shape, &Device::Cpu)?).map(drop)
    }

    /// The site, and the tensor in the reference's axis order if it has the declared axes.
    fn write_down(&mut self, name: impl Display, tensor: &Tensor) -> Result<(Site, Option<Tensor>)> {
        let name = name.to_string();
        let site = site_of(self.vocabulary, &name).map_err(|error| self.fail(error))?;
        let given = to_reference(self.vocabulary, self.case, site, tensor);
        let handed = given.clone().unwrap_or_else(|| tensor.clone());
        if !self.tape.recording.hand_over(site, handed) {
            let what = format!("{name}: handed over twice");
            let hint = "run one forward pass over all tokens of the case, and hand over each site once";
            return Err(self.fail(Error::input(what, hint)));
        }
        Ok((site, given))
    }

    /// Stores the first misuse, in case the port does not pass on the error.
    fn fail(&mut self, error: Error) -> Error {
        self.tape.fault.get_or_insert_with(|| error.copy());
        error
    }
}

/// For a port that is generic over its probe.
impl Probe for Recorder<'_> {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        Recorder::tap(self, site, tensor)
    }
}
