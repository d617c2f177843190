//! Deviations that are identified from an operation's inputs and its result. They are not rows of the
//! catalogue: nothing is known about them but what the tensors show.

/// One kind of deviation that is identified.
#[derive(Debug, PartialEq)]
pub struct Identified {
    /// `norm-statistic`: lower case, no spaces.
    pub name: &'static str,
    /// The operation where it is found.
    pub operation: &'static str,
    /// What is compared to find it.
    pub title: &'static str,
    /// Which line of code to look for.
    pub fix: &'static str,
}

/// Every kind, by operation.
pub const IDENTIFIED: &[Identified] = &[
    Identified {
        name: "norm-statistic",
        operation: "norm",
        title: "the row is divided by another statistic: mean |x|, largest |x|, sum, standard deviation, another part of \
                the row, another row; or its mean is subtracted",
        fix: "divide each row by √(mean(x²) + ε), over all channels of that row",
    },
    Identified {
        name: "norm-weight",
        operation: "norm",
        title: "the row is multiplied by another vector of the file, or by a power or a rounding of its own",
        fix: "check which tensor you load for this norm, and multiply by it once, in full precision",
    },
    Identified {
        name: "norm-skipped",
        operation: "norm",
        title: "the norm, or its division, is left out",
        fix: "check that the norm is called, and that its result is what you continue with",
    },
    Identified {
        name: "norm-twice",
        operation: "norm",
        title: "the norm is applied to its own result",
        fix: "look for a second call of the norm on the same tensor",
    },
    Identified {
        name: "norm-order",
        operation: "norm",
        title: "the weight is applied before the division",
        fix: "divide by the root mean square first, then multiply by the weight",
    },
    Identified {
        name: "rope-skipped",
        operation: "rope",
        title: "the rotation is left out",
        fix: "check that the rotated tensor, and not its input, goes on to the cache and the scores",
    },
    Identified {
        name: "rope-twice",
        operation: "rope",
        title: "the rotation is applied twice, or all angles are doubled",
        fix: "look for a second rotation, for instance of keys that come from the cache",
    },
    Identified {
        name: "rope-direction",
        operation: "rope",
        title: "the sine has the wrong sign, in both products or in one",
        fix: "compute x₁ cos − x₂ sin and x₂ cos + x₁ sin",
    },
    Identified {
        name: "rope-tables",
        operation: "rope",
        title: "cosine and sine are exchanged, or laid out for the other pairing",
        fix: "check how the tables are built: one angle per pair, repeated in the order in which you pair elements",
    },
    Identified {
        name: "rope-pairs",
        operation: "rope",
        title: "pairs are read in one order and written in another, or other elements are paired",
        fix: "read and write the same two elements of each pair",
    },
    Identified {
        name: "rope-frequencies",
        operation: "rope",
        title: "the frequencies follow another law: one pair late, reversed, linear, doubled",
        fix: "pair i turns by θ^(−2i/head_dim) per position, i counted from 0",
    },
    Identified {
        name: "rope-positions",
        operation: "rope",
        title: "the positions follow another law: constant, reversed, clipped, modulo, by head",
        fix: "check which axis the positions belong to and where they come from",
    },
    Identified {
        name: "rope-partial",
        operation: "rope",
        title: "only a part of each head is rotated",
        fix: "rotate the whole head: the config has no partial_rotary_factor",
    },
    Identified {
        name: "rope-heads",
        operation: "rope",
        title: "some heads are not rotated",
        fix: "check the number of heads that the rotation loops over: queries have more heads than keys",
    },
    Identified {
        name: "rope-magnitude",
        operation: "rope",
        title: "cosine and sine have a factor",
        fix: "remove the factor: only long-context scalings such as yarn have one",
    },
    Identified {
        name: "other-matrix",
        operation: "linear",
        title: "another matrix of the file is used",
        fix: "check the name that this projection's weight is loaded by, and its layer",
    },
    Identified {
        name: "fused-split",
        operation: "linear",
        title: "a fused gate and up matrix is split in the wrong order of rows",
        fix: "split the fused matrix as the file stores it",
    },
    Identified {
        name: "rounded-matrix",
        operation: "linear",
        title: "the matrix is rounded to a narrower format than the file's",
        fix: "load the matrix in the file's precision, or judge the port as quantised",
    },
    Identified {
        name: "scaled-matrix",
        operation: "linear",
        title: "the rows of the matrix are scaled",
        fix: "use the rows of the matrix as they are",
    },
    Identified {
        name: "score-term",
        operation: "scores",
        title: "something is added to the scores: ALiBi, a bias by distance, a constant, a bias of the first key",
        fix: "add nothing but the mask to the scaled scores",
    },
    Identified {
        name: "score-softcap",
        operation: "scores",
        title: "the scores have a softcap",
        fix: "remove the softcap: the config has none",
    },
    Identified {
        name: "score-inputs",
        operation: "scores",
        title: "queries and keys are changed before their product: normed, cut, exchanged",
        fix: "multiply the rotated queries by the rotated keys, whole heads, nothing between",
    },
    Identified {
        name: "visible-keys",
        operation: "scores",
        title: "other keys are visible: a window, chunks, keys ahead, a key missing, a finite mask",
        fix: "let a query at position p see all keys at positions ≤ p",
    },
    Identified {
        name: "softmax-temperature",
        operation: "softmax",
        title: "the scores are divided by a temperature, or another base than e is used",
        fix: "use e^x of the scores as they are",
    },
    Identified {
        name: "softmax-form",
        operation: "softmax",
        title: "another function, another axis, another term in the sum, another precision",
        fix: "divide e^(x − max) of each row by the sum over its keys, in f32",
    },
    Identified {
        name: "context-form",
        operation: "context",
        title: "heads are merged in the wrong order, or other probabilities or values are multiplied",
        fix: "multiply probabilities by values per head, move the head axis behind the positions, then merge",
    },
    Identified {
        name: "activation-function",
        operation: "activation",
        title: "another function of gate",
        fix: "use the config's hidden_act: SiLU, x · σ(x)",
    },
    Identified {
        name: "activation-cancels",
        operation: "activation",
        title: "SiLU is computed by a subtraction in half precision, which loses the digits of small values",
        fix: "compute x · σ(x), or x / (1 + e^−x), in f32",
    },
    Identified {
        name: "gated-product",
        operation: "product",
        title: "gate and up are combined in another way",
        fix: "compute silu(gate) · up",
    },
    Identified {
        name: "residual-sum",
        operation: "sum",
        title: "other tensors are added, with other factors, or normed",
        fix: "add the branch's output once to the tensor that the branch's norm read",
    },
    Identified {
        name: "layer-order",
        operation: "layer",
        title: "a layer reads the output of another layer than the one before it",
        fix: "check the loop over the layers, and what each of them is given",
    },
    Identified {
        name: "embedding-row",
        operation: "embedding",
        title: "other rows of the table are looked up",
        fix: "look up row `id` of the [vocab, hidden] table",
    },
    Identified {
        name: "logits-form",
        operation: "logits",
        title: "the logits are turned into something else: log-probabilities, probabilities, a softcap",
        fix: "record the product with the output matrix, before anything that a sampler or a loss does to it",
    },
    Identified {
        name: "wrong-input",
        operation: "any",
        title: "the operation reads another tensor of its layer",
        fix: "check the variable that you pass to this operation",
    },
    Identified {
        name: "wrong-tensor",
        operation: "any",
        title: "the result is equal to another tensor of the layer",
        fix: "check that the operation runs, and that you record its result or continue with it",
    },
    Identified {
        name: "input-rows",
        operation: "any",
        title: "the input's rows are shifted, reversed or repeated",
        fix: "check the position axis of the input: each row must be computed from the same row",
    },
    Identified {
        name: "output-rows",
        operation: "any",
        title: "the result's rows are shifted, reversed or repeated",
        fix: "check the position axis of the result: each row must be computed from the same row",
    },
    Identified {
        name: "input-columns",
        operation: "any",
        title: "the input's columns are in another order",
        fix: "check how heads are merged or split before this operation, and the order of the matrix's columns",
    },
    Identified {
        name: "output-columns",
        operation: "any",
        title: "the result's columns are in another order",
        fix: "check the order of the matrix's rows, and how heads are merged or split",
    },
    Identified {
        name: "input-zeros",
        operation: "any",
        title: "a part of the input, or the matrix's columns for it, is zero",
        fix: "check that the whole matrix is loaded and that the whole input is written",
    },
    Identified {
        name: "output-zeros",
        operation: "any",
        title: "a part of the result, or the matrix's rows for it, is zero",
        fix: "check that the whole matrix is loaded and that the whole result is written",
    },
    Identified {
        name: "input-rounded",
        operation: "any",
        title: "the input is rounded to a narrower format",
        fix: "keep activations in the run's dtype",
    },
    Identified {
        name: "output-rounded",
        operation: "any",
        title: "the result is rounded to a narrower format",
        fix: "keep activations in the run's dtype",
    },
    Identified {
        name: "input-function",
        operation: "any",
        title: "a function is applied to the input",
        fix: "remove the function before this operation",
    },
    Identified {
        name: "output-function",
        operation: "any",
        title: "a function is applied to the result",
        fix: "remove the function after this operation",
    },
    Identified {
        name: "tensor-normed",
        operation: "any",
        title: "the input or the result is normed once more",
        fix: "remove the second norm",
    },
    Identified {
        name: "output-scaled",
        operation: "any",
        title: "the result is multiplied by a number",
        fix: "remove the factor, or check that it is applied once only",
    },
    Identified {
        name: "input-clipped",
        operation: "any",
        title: "the input is clipped",
        fix: "remove the limits: they are no part of the model",
    },
    Identified {
        name: "output-clipped",
        operation: "any",
        title: "the result is clipped",
        fix: "remove the limits: they are no part of the model",
    },
];

/// The kind with this name, in upper or lower case.
pub fn find_identified(name: &str) -> Option<&'static Identified> {
    IDENTIFIED.iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_differ_from_those_of_the_catalogue() {
        let names: BTreeSet<&str> = IDENTIFIED.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), IDENTIFIED.len());
        assert!(super::super::all().all(|mistake| !names.contains(mistake.name)));
    }
}
