//! Deviations that are found at any operation: of what it reads, or of what it returns.

use super::kind::Identified;

pub(super) const KINDS: &[Identified] = &[
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
