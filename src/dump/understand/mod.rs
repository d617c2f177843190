//! Understands how the values of a recording are to be read, before anything is judged: people record what is
//! easy to record. A tensor never proves its own convention; a recorded tensor that was computed from it
//! does. Whatever is recognised is stated in [`Recording::recognised`].

mod activation;
mod cache;
mod cached_keys;
mod family;
mod follows;
mod mask;
mod norms;
mod order;
mod pairs;
mod positions;
mod precision;
mod residual;
mod scores;
mod shape;
mod stack;

use super::Against;
use super::earlier::Earlier;
use super::unrecorded;
use crate::Result;
use crate::recording::Recording;

impl Recording {
    /// Recognises conventions that only the values of the recording show, and converts what it reads from now
    /// on accordingly. Call it once, before judging. Each recognition is added to
    /// [`Recording::recognised`], with the line of metadata that states it explicitly.
    ///
    /// # Errors
    /// The metadata has an invalid value; two readings are possible, and the tensor that would decide was not
    /// recorded; the recording or a weight cannot be read.
    pub fn understand(&mut self, against: &Against<'_>) -> Result<()> {
        self.understand_after(&Earlier::default(), against)
    }

    /// The same for a pass that ran after others.
    ///
    /// # Errors
    /// Those of [`Recording::understand`].
    pub(super) fn understand_after(&mut self, earlier: &Earlier, against: &Against<'_>) -> Result<()> {
        family::understand(self, against)?;
        cached_keys::understand(self, against)?;
        cache::take_over(self, earlier)?;
        let undecided = shape::understand(self, against)?;
        precision::understand(self, against)?;
        cache::understand(self, against, earlier)?;
        shape::refuse_misfits(self, against)?;
        norms::understand(self, against)?;
        stack::understand(self, against)?;
        positions::understand(self, against)?;
        order::understand(self, against, undecided)?;
        pairs::understand(self, against)?;
        self.read_cached_keys_again(against.config);
        order::refuse_tiled(self, against)?;
        activation::understand(self, against)?;
        residual::understand(self, against)?;
        mask::understand(self, against)?;
        scores::understand(self, against)?;
        unrecorded::note(self, against)
    }
}
