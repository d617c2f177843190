//! Faults that stand around a sound port: in its caller, or in a probe around the judge's.

use candle_core::{IndexOp, Tensor};
use rbees_check::Result;
use rbees_check::judge::{LlamaPort, Port, Traits};
use rbees_check::model::Input;
use rbees_check::probe::{Kind, Probe, Site};

/// A port whose caller or attention is at fault.
pub struct Driven {
    port: LlamaPort,
    fault: Fault,
}

enum Fault {
    /// Decoding always passes the position of the first token.
    Stuck,
    /// Nothing empties the cache: every sequence follows the one before.
    NeverEmptied,
    /// Nothing is handed to the probe.
    Silent,
    Seen(Seen),
}

/// A mistake of the attention, made where its tensors pass.
#[derive(Clone, Copy)]
pub enum Seen {
    /// Key j is barred to the i-th query of this call if j > i, however long the cache is.
    MaskFromZero,
    /// Query head h looks at key head h mod n instead of h / group.
    TiledHeads { heads: usize, kv_heads: usize },
}

impl Driven {
    pub fn stuck(port: LlamaPort) -> Self {
        Self { port, fault: Fault::Stuck }
    }

    pub fn silent(port: LlamaPort) -> Self {
        Self { port, fault: Fault::Silent }
    }

    pub fn never_emptied(port: LlamaPort) -> Self {
        Self { port, fault: Fault::NeverEmptied }
    }

    pub fn seeing(port: LlamaPort, seen: Seen) -> Self {
        Self { port, fault: Fault::Seen(seen) }
    }
}

impl Port for Driven {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        if !matches!(self.fault, Fault::NeverEmptied) {
            self.port.begin();
        }
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        match self.fault {
            Fault::Stuck => {
                let mut input = input.clone();
                if input.len() == 1 {
                    input.positions.iter_mut().flatten().for_each(|position| *position = 0);
                }
                self.port.forward(&input, probe)
            }
            Fault::NeverEmptied => self.port.forward(input, probe),
            Fault::Silent => self.port.forward(input, &mut ()),
            Fault::Seen(seen) => self.port.forward(input, &mut Around { probe, seen }),
        }
    }
}

/// Makes the mistake before the judge looks, and keeps it behind the judge's back.
struct Around<'a> {
    probe: &'a mut dyn Probe,
    seen: Seen,
}

impl Probe for Around<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.probe.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        match self.seen {
            Seen::MaskFromZero if site.kind == Kind::Scores => self.probe.tap(site, bar_from_zero(&tensor)?),
            Seen::TiledHeads { heads, kv_heads } => self.tiled(site, tensor, heads, kv_heads),
            _ => self.probe.tap(site, tensor),
        }
    }
}

impl Around<'_> {
    /// Slot h of the model's heads is paired with key head h / group. To pair query head u with key
    /// head u mod n, it is moved to a slot where that key head is, and moved back behind the judge.
    fn tiled(&mut self, site: Site, tensor: Tensor, heads: usize, kv_heads: usize) -> Result<Tensor> {
        let group = heads / kv_heads;
        let head_in_slot: Vec<u32> =
            (0..heads).map(|slot| (slot % group * kv_heads + slot / group) as u32).collect();
        let slot_of_head: Vec<u32> =
            (0..heads as u32).map(|u| head_in_slot.iter().position(|&v| v == u).unwrap() as u32).collect();
        let order = |t: &Tensor, order: &[u32]| t.index_select(&Tensor::new(order, t.device())?, 1);
        Ok(match site.kind {
            Kind::QRope => order(&self.probe.tap(site, tensor)?, &head_in_slot)?,
            Kind::Scores | Kind::Probs => {
                let true_order = order(&tensor, &slot_of_head)?;
                order(&self.probe.tap(site, true_order)?, &head_in_slot)?
            }
            Kind::Context => {
                let (b, s, width) = tensor.dims3()?;
                let by_head = tensor.reshape((b, s, heads, width / heads))?;
                let index = Tensor::new(&slot_of_head[..], tensor.device())?;
                self.probe.tap(site, by_head.index_select(&index, 2)?.reshape((b, s, width))?)?
            }
            _ => self.probe.tap(site, tensor)?,
        })
    }
}

/// `[b, heads, s, t]` with key j barred to query i of this call for j > i.
fn bar_from_zero(scores: &Tensor) -> Result<Tensor> {
    let (_, _, s, t) = scores.dims4()?;
    let mask: Vec<f32> =
        (0..s).flat_map(|i| (0..t).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 })).collect();
    let mask = Tensor::from_vec(mask, (s, t), scores.device())?.to_dtype(scores.dtype())?;
    Ok(scores.i(..)?.broadcast_add(&mask)?)
}
