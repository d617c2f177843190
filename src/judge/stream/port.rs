//! One stage of a model as a port: a forward pass runs only this stage, on the result of the stage before.

use candle_core::Tensor;

use crate::model::{Cache, Input, Stage};
use crate::port::{Port, Traits};
use crate::probe::{Arithmetic, Probe, Site};
use crate::{Error, Result};

/// A stage, its cache, and its input for one prompt.
pub(super) struct StagePort {
    stage: Stage,
    cache: Cache,
    ids: Vec<u32>,
    /// The path's own result of the stage before, `[1, s, hidden]`; `None` for the embedding.
    x: Option<Tensor>,
}

impl StagePort {
    pub fn new(stage: Stage, ids: &[u32], x: Option<Tensor>) -> Self {
        Self { cache: stage.new_cache(), stage, ids: ids.to_vec(), x }
    }

    /// The site that the stage reads.
    pub fn reads(&self) -> Option<Site> {
        self.stage.name.input(self.stage.config().num_hidden_layers)
    }

    /// The name of the path.
    pub fn path(&self) -> &'static str {
        self.stage.path().name()
    }

    /// The stage's result for the whole prompt.
    ///
    /// # Errors
    /// Those of the stage.
    pub fn result(&mut self, input: &Input) -> Result<Tensor> {
        self.begin();
        let result = self.forward(input, &mut ())?;
        self.begin();
        Ok(result)
    }

    /// The result of the stage before for these tokens, after those in the cache. For other tokens than those of the
    /// prompt it is made up, because the stages before are not in memory.
    fn x(&self, input: &Input, past: usize) -> Result<Option<Tensor>> {
        let Some(x) = &self.x else { return Ok(None) };
        let end = past + input.len();
        if input.batch() != 1 || end > self.ids.len() {
            return Err(Error::internal("a stage was run on other tokens than those of its prompt"));
        }
        let x = x.narrow(1, past, input.len())?.contiguous()?; // [1, s, hidden]
        Ok(Some(if input.ids[0] == self.ids[past..end] { x } else { x.neg()? }))
    }
}

impl Port for StagePort {
    fn traits(&self) -> Traits {
        let stage = &self.stage;
        Traits::of_llama(stage.config(), stage.kinds(), stage.path(), Arithmetic::Dense, stage.dtype())
    }

    fn begin(&mut self) {
        self.cache.reset();
    }

    fn forward(&mut self, input: &Input, mut probe: &mut dyn Probe) -> Result<Tensor> {
        let past = self.cache.len();
        self.stage.accept(input, &mut self.cache)?;
        let mut x = self.x(input, past)?;
        if let (Some(own), Some(site)) = (x.take(), self.reads()) {
            x = Some(probe.tap(site, own)?);
        }
        self.stage.forward(input, x, &mut self.cache, &mut probe)
    }
}
