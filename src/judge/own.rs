//! Judges a path without stored references: against the project's own oracle, in three layers.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device};

use super::recorded::{rows_of, run};
use super::run_each;
use super::subject::Subject;
use super::verdict::Outcome;
use crate::Result;
use crate::checkpoints::{self, How};
use crate::model::{Input, Path};
use crate::models::Model;
use crate::port::Port;
use crate::probe::{Arithmetic, Kind, Site};
use crate::record::{OwnCase, Tokens};
use crate::reference::{Feed, ReferenceRows};

/// The longest prompt that is judged, in tokens.
const LONGEST: usize = 16;

/// Judges each operation of the first, a middle and the last layer of `port` on reference inputs, on the first tokens of
/// `prompt`. Each layer starts from the port's own values, so no other layer is computed in float64.
///
/// # Errors
/// The port returns an error, or the weights cannot be read.
pub(super) fn judge_layers(
    (model, device, dtype, path): (&Model, &Device, DType, Path),
    port: &mut dyn Port,
    prompt: &[u32],
) -> Result<Vec<Outcome>> {
    let tokens = &prompt[..prompt.len().min(LONGEST)];
    let traits = port.traits();
    let last = traits.layers.saturating_sub(1);
    let layers: BTreeSet<u16> = [0, last / 2, last].map(|layer| layer as u16).into();
    let needed: BTreeSet<Site> = layers
        .iter()
        .filter(|&&layer| layer > 0)
        .map(|&layer| Site::layer(usize::from(layer) - 1, Kind::Block))
        .collect();
    let mut given: BTreeMap<Site, ReferenceRows> = BTreeMap::new();
    run(port, &Input::single(tokens, 0), None, &mut |site, handed, _| {
        if needed.contains(&site) {
            let places = (0..tokens.len()).map(|slot| (0, slot));
            given.extend(rows_of(handed, site.kind, &traits, places)?.map(|rows| (site, rows)));
        }
        Ok(())
    })?;
    // In a model of two or three layers, a layer may begin where another one ends.
    given.retain(|site, _| site.layer.is_none_or(|layer| !layers.contains(&layer)));
    let case = OwnCase {
        feeds: vec![Feed::Site],
        layers: Some(layers),
        given,
        arithmetics: Some(traits.arithmetic).filter(|a| *a != Arithmetic::Dense).into_iter().collect(),
        ..OwnCase::of_prompt(&model.weights, &model.name, Tokens::prompt(tokens)?, vec![dtype])
    };
    let mut subject = Subject::of_cases(model, vec![case.compute()?], device, dtype, &[path])?;
    subject.feed = Some(Feed::Site);
    let of_sites = |checkpoint: &&checkpoints::Checkpoint| {
        matches!(checkpoint.how, How::Sites(..) | How::Tokens(..))
            && checkpoint.views().iter().any(|view| view.feed == Feed::Site)
    };
    let chosen: Vec<_> = checkpoints::ALL.into_iter().filter(of_sites).collect();
    run_each(&mut subject, &chosen)
}
