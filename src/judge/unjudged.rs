//! Judges a port without references: only the cache laws can be checked, with noise measured on the port
//! itself.

use super::laws;
use super::noise;
use super::pieces::{Criteria, Sequence, record};
use super::verdict::Finding;
use crate::Result;
use crate::model::Input;
use crate::port::Port;

/// Judges what needs no reference: pieces against the whole, A, B, A, and the end of the context.
pub fn laws_alone(port: &mut dyn Port, ids: &[u32], factor: f64) -> Result<Vec<Finding>> {
    let places = (0..ids.len()).map(|position| (0, position)).collect();
    let whole = Sequence { name: "prompt", input: Input::single(ids, 0), places };
    let shaken = noise::shaken(port, &whole.input)?;
    let noise = |site, _| shaken.get(&site).copied();
    let criteria = Criteria { fed: None, judges: &|_, _| true, noise: &noise, factor, context: None };
    let prefill = record(port, &whole, &criteria)?;
    let mut findings = laws::same_in_pieces(port, &whole, &prefill, &criteria)?;
    findings.push(laws::a_b_a(port, &whole)?);
    findings.push(laws::context_ends(port));
    Ok(findings)
}
