//! Deviations of norms, rotations, matrices, the embedding, the logits and whole layers.

use super::kind::Identified;

pub(super) const KINDS: &[Identified] = &[
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
        title: "the weight is applied before the division, or after the rotation that follows the norm",
        fix: "divide by the root mean square first, then multiply by the weight, then rotate",
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
        name: "embedding-scale",
        operation: "embedding",
        title: "the embedding is multiplied by another factor than √hidden_size, or by none, in a family that scales it",
        fix: "multiply the rows by √hidden_size, rounded to the model's dtype, once",
    },
    Identified {
        name: "logit-softcap",
        operation: "softcap",
        title: "the logits have another softcap than the config says, or none",
        fix: "apply c · tanh(x / c) to the logits, with final_logit_softcapping as c",
    },
    Identified {
        name: "logits-form",
        operation: "logits",
        title: "the logits are turned into something else: log-probabilities, probabilities, a softcap",
        fix: "record the product with the output matrix, before anything that a sampler or a loss does to it",
    },
];
