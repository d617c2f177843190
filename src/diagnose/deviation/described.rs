//! Describes deviations as data, for reports.

use super::{Change, Deviation, MaskValue, NormWeight, ScoreTerm, Sees, SoftmaxForm, Turn};
use crate::diagnose::diagnosis::{Changed, NamedNumber, Part};
use crate::graph::{FrequencyLaw, Node, Operation};

/// These deviations at these nodes.
pub(in crate::diagnose) fn described<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    deviations: &[Deviation],
) -> Part {
    let nodes: Vec<&Node> = nodes.into_iter().collect();
    Part {
        operation: nodes.first().map_or("none", |node| operation(&node.operation)).to_owned(),
        sites: nodes.iter().map(|node| node.site.to_string()).collect(),
        changes: deviations.iter().map(changed).collect(),
    }
}

fn changed(deviation: &Deviation) -> Changed {
    let named = |(name, value): (&str, f64)| NamedNumber { name: name.to_owned(), value };
    Changed { kind: kind(deviation), numbers: numbers(deviation).into_iter().map(named).collect() }
}

fn operation(operation: &Operation) -> &'static str {
    match operation {
        Operation::Source => "source",
        Operation::Embedding(_) => "embedding",
        Operation::Norm(_) => "norm",
        Operation::Linear(_) => "linear",
        Operation::Rope(_) => "rope",
        Operation::Scores(_) => "scores",
        Operation::Softmax => "softmax",
        Operation::Context(_) => "context",
        Operation::Activation(_) => "activation",
        Operation::Product => "product",
        Operation::WeightedSum { .. } => "sum",
        Operation::Softcap { .. } => "softcap",
        Operation::Scale { .. } => "scale",
    }
}

fn kind(deviation: &Deviation) -> String {
    let name = match deviation {
        Deviation::EmbeddingScale(_) => "embedding-scale",
        Deviation::Eps { .. } => "eps",
        Deviation::NormWeight(_) => "norm-weight",
        Deviation::LowNorm(_) => "norm-precision",
        Deviation::Frequencies(_) => "frequencies",
        Deviation::Pairs(_) => "pairs",
        Deviation::Positions(_) => "positions",
        Deviation::LowTables(_) => "table-precision",
        Deviation::Sees(_) => "visible-keys",
        Deviation::MaskValue(_) => "mask-value",
        Deviation::Leaks(_) => "masked-keys-count",
        Deviation::LowSoftmax(_) => "softmax-precision",
        Deviation::Misread(_) => "strides",
        Deviation::LooksAt(_) => "head-map",
        Deviation::ScoreScale(_) => "score-scale",
        Deviation::Matrix(_) => "matrix",
        Deviation::Bias(_) => "bias",
        Deviation::Module(_) => "matrix-and-bias",
        Deviation::LowFactors(_) => "factor-precision",
        Deviation::GateExchanged => "gate-exchanged",
        Deviation::LowGate(_) => "gate-precision",
        Deviation::Input { change, .. } => return format!("input-{}", change_kind(change)),
        Deviation::Output(change) => return format!("output-{}", change_kind(change)),
        Deviation::Reads { .. } => "reads",
        Deviation::Sum(_) => "sum",
        Deviation::LookUp(_) => "look-up",
        Deviation::NormForm(_) => "norm-form",
        Deviation::Turn(_) => "turn",
        Deviation::ScorePlus(_) => "score-term",
        Deviation::ScoreSoftcap { .. } => "score-softcap",
        Deviation::LogitSoftcap(_) => "logit-softcap",
        Deviation::SoftmaxForm(_) => "softmax-form",
        Deviation::Gate(_) => "activation",
        Deviation::Cancelling(_) => "cancellation",
        Deviation::GateAdded => "gate-added",
        Deviation::GateInside => "gate-inside",
    };
    name.to_owned()
}

fn change_kind(change: &Change) -> &'static str {
    match change {
        Change::Times(_) => "times",
        Change::Plus(_) => "plus",
        Change::Constant(_) => "constant",
        Change::Shifted { .. } => "shifted",
        Change::RowsReversed => "rows-reversed",
        Change::Repeats(_) => "row-repeated",
        Change::Columns(_) => "columns",
        Change::Zeros(_) => "zero-columns",
        Change::ZeroRows(_) => "zero-rows",
        Change::Clipped { .. } => "clipped",
        Change::Rounded(_) => "rounded",
        Change::Normed { .. } => "normed",
        Change::Weighted(_) => "weighted",
        Change::HeadsInFront { .. } => "heads-in-front",
        Change::Transposed { .. } => "transposed",
        Change::WithoutOwn { .. } => "without-own-key",
        Change::Is(_) => "replaced",
        Change::By(_) => "function",
        Change::Softcap(_) => "softcap",
        Change::LogSoftmax => "log-softmax",
        Change::Softmax => "softmax",
        Change::MinusLargest => "minus-largest",
        Change::Top(_) => "top",
    }
}

/// The numbers of a deviation that is described by few numbers.
fn numbers(deviation: &Deviation) -> Vec<(&'static str, f64)> {
    match deviation {
        Deviation::EmbeddingScale(factor) => vec![("factor", *factor)],
        Deviation::Eps { eps, .. } => vec![("eps", *eps)],
        Deviation::NormWeight(NormWeight::Plus(number)) => vec![("plus", *number)],
        Deviation::NormWeight(NormWeight::All(number)) => vec![("constant", *number)],
        Deviation::NormWeight(NormWeight::Power(power)) => vec![("power", f64::from(*power))],
        Deviation::Frequencies(law) => frequencies(law),
        Deviation::Sees(Sees::Last(keys)) => vec![("window", *keys as f64)],
        Deviation::Sees(Sees::Ahead(keys)) => vec![("ahead", *keys as f64)],
        Deviation::MaskValue(MaskValue::Is(value) | MaskValue::Adds(value)) => vec![("value", *value)],
        Deviation::ScoreScale(scale) => vec![("scale", *scale)],
        Deviation::ScoreSoftcap { cap: Some(cap), .. } | Deviation::LogitSoftcap(Some(cap)) => {
            vec![("cap", *cap)]
        }
        Deviation::ScorePlus(ScoreTerm::Distance(by) | ScoreTerm::Constant(by) | ScoreTerm::FirstKey(by)) => {
            vec![("plus", *by)]
        }
        Deviation::SoftmaxForm(SoftmaxForm::Temperature(temperature)) => vec![("temperature", *temperature)],
        Deviation::Turn(Turn::Partial { turned, .. }) => vec![("turned", *turned as f64)],
        Deviation::Input { change, .. } | Deviation::Output(change) => change_numbers(change),
        _ => vec![],
    }
}

fn frequencies(law: &FrequencyLaw) -> Vec<(&'static str, f64)> {
    let theta = ("theta", law.theta());
    match law {
        FrequencyLaw::Linear { factor, .. } | FrequencyLaw::Llama3 { factor, .. } => {
            vec![theta, ("factor", *factor)]
        }
        FrequencyLaw::Base { .. } | FrequencyLaw::Divided { .. } => vec![theta],
    }
}

fn change_numbers(change: &Change) -> Vec<(&'static str, f64)> {
    match change {
        Change::Times(factor) => vec![("factor", *factor)],
        Change::Plus(number) => vec![("plus", *number)],
        Change::Constant(number) => vec![("constant", *number)],
        Change::Shifted { by, .. } => vec![("by", *by as f64)],
        Change::Zeros(range) | Change::ZeroRows(range) => {
            vec![("start", range.start as f64), ("end", range.end as f64)]
        }
        Change::Clipped { low, high } => vec![("low", *low), ("high", *high)],
        Change::Softcap(cap) => vec![("cap", *cap)],
        Change::Top(count) => vec![("count", *count as f64)],
        _ => vec![],
    }
}
