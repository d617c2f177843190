//! Other look-ups in the embedding's table.

use super::Proposal;
use crate::diagnose::deviation::{Deviation, LookUp};
use crate::graph::Node;

pub(super) fn proposals(node: &Node, scale: f64) -> Vec<Proposal> {
    let proposal =
        |look_up, says: String| Proposal::new("embedding-row", node, Deviation::LookUp(look_up), says);
    let mut all = vec![
        proposal(LookUp::Plus(1), "you look up the embedding of the id after each token's".into()),
        proposal(LookUp::Plus(-1), "you look up the embedding of the id before each token's".into()),
        proposal(
            LookUp::ColumnMajor,
            "you read the embedding's table in column-major order: its bytes are [vocab, hidden], row by row"
                .into(),
        ),
    ];
    if scale != 1.0 {
        let factor = |by: f64, what: &str| {
            let says = format!("you {what}; its factor is √hidden_size, {scale:.4}");
            Proposal::new("embedding-scale", node, Deviation::EmbeddingScale(by), says)
        };
        all.push(factor(1.0 / scale, "do not scale the embedding"));
        all.push(factor(scale, "scale the embedding twice, by hidden_size"));
        all.push(factor(scale.powi(-2), "divide the embedding by √hidden_size"));
    }
    for n in (4..17).map(|power| 1u32 << power) {
        let says = format!("you look up token ids modulo {n}: the ids are stored in too few bits");
        all.push(proposal(LookUp::Modulo(n), says));
    }
    all
}
