"""Greedy text and sampling distributions."""

from contextlib import nullcontext

import torch
from transformers import DynamicCache, GenerationConfig

from .arithmetic import Stock, arithmetic
from .files import round_to_40_bits
from .noise import DTYPES
from .quantized import noisy, true_order
from .tokens import ids_of

LONGEST = 64  # tokens


class Plain:
    """transformers' own arithmetic; float32 exactly as a user runs it."""

    def drafting(self, model):
        return nullcontext()

    def true(self, model):
        return Stock()

    def noisy(self, model, dtype):
        return Stock()


class Quantized:
    """Activations rounded as a kernel on blocks rounds them."""

    def __init__(self, name):
        self.name = name

    def drafting(self, model):
        return arithmetic(noisy(Stock(), 0, model, "f32", "own", self.name))

    def true(self, model):
        return true_order(model, self.name)

    def noisy(self, model, dtype):
        return noisy(Stock(), 0, model, dtype, "own", self.name)


@torch.inference_mode()
def draft(model, ids, stop, kind):
    """Up to 64 greedy tokens in float32, one at a time on a cache; a token of `stop` is kept and ends it."""
    cache, fed, tokens = DynamicCache(config=model.config), ids, []
    while len(tokens) < LONGEST and not (tokens and tokens[-1] in stop):
        with kind.drafting(model):
            logits = model.stock(input_ids=torch.tensor([fed]), past_key_values=cache, use_cache=True).logits
        tokens.append(int(logits[0, -1].argmax()))
        fed = tokens[-1:]
    return tokens


def greedy_in_float64(model, ids, stop, kind):
    """The greedy tokens of the float64 model, its logits at each step, and whether float32 said the same.

    One float64 pass over float32's draft shows what float64 would have chosen at every step. Where they part,
    float64's token is taken and the draft goes on from there: the same tokens as a float64 loop, far sooner.
    (Not `generate()`: that casts the logits to float32 before it looks at them.)
    """
    kept, same = [], True
    while True:
        tokens = kept + draft(model, ids + kept, stop, kind)[: LONGEST - len(kept)]
        logits = step_logits(model, "f64", ids, tokens, kind.true(model))  # [steps, vocab]
        wanted = logits.argmax(-1).tolist()
        if wanted == tokens:
            return tokens, logits, same
        parting = next(step for step, pair in enumerate(zip(tokens, wanted)) if pair[0] != pair[1])
        kept, same = wanted[: parting + 1], False
        if kept[-1] in stop or len(kept) == LONGEST:
            return kept, logits[: len(kept)], same


@torch.inference_mode()
def step_logits(model, dtype, ids, tokens, order):
    """[steps, vocab] float64: the logits that chose each token, teacher-forced in one pass."""
    with arithmetic(order):
        logits = model.at(dtype)(input_ids=torch.tensor([ids + tokens[:-1]]), use_cache=False).logits
    return logits[0, len(ids) - 1 :].double()


def greedy(model, prompts, provenance):
    """greedy.json: tokens of the float64 model, and how close each step was; on quantised arithmetic as well."""
    stop = set(model.eos_token_ids)
    followed = lambda kind: [follow(model, prompt, stop, kind) for prompt in prompts]
    written = {"format": 1, "eos_token_ids": sorted(stop), "prompts": followed(Plain()), "provenance": provenance}
    if model.blocks:
        written["quantized"] = {name: followed(Quantized(name)) for name in model.blocks.widths()}
    return written


def follow(model, prompt, stop, kind):
    """One prompt's continuation."""
    ids = ids_of(model, prompt)
    tokens, logits, same = greedy_in_float64(model, ids, stop, kind)
    first, second = logits.topk(2, dim=-1).indices.unbind(-1)  # [steps] each
    gap_of = lambda scores: (scores.gather(-1, first[:, None]) - scores.gather(-1, second[:, None]))[:, 0]
    gap = gap_of(logits)
    of_dtype = lambda dtype: gap_of(step_logits(model, dtype, ids, tokens, kind.noisy(model, dtype)))
    error = {dtype: (of_dtype(dtype) - gap).abs() for dtype in DTYPES}
    return {
        "prompt": prompt, "ids": ids, "tokens": tokens, "text": model.tokenizer.decode(tokens),
        "gap": round_to_40_bits(gap.numpy()).tolist(), "runner_up": second.tolist(),
        # Seven digits are plenty for an error, and keep the file readable.
        "gap_error": {dtype: [float(f"{e:.7g}") for e in values.tolist()] for dtype, values in error.items()},
        "f32_identical": same,  # float32 on a cache, a token at a time
    }


def sampling(model, logits, context, settings, provenance):
    """sampling.json and the arrays of sampling.npz.

    `logits` [vocab] float64 are rounded to float32, which is what a port is given; from there on
    everything is float64. transformers decides which processors there are and in which order.
    """
    given = torch.tensor(logits).float()  # [vocab]
    cases, arrays = [], {"logits": given.numpy()}
    for key, wanted in settings.items():
        wanted = with_sequence_bias(wanted, given, context)
        config = GenerationConfig(do_sample=True, **{**NEUTRAL, **wanted})
        processors = model.stock._get_logits_processor(config, input_ids_seq_length=len(context), device="cpu")
        wide = processors(torch.tensor([context]), given.double()[None])[0].softmax(-1)
        stock = processors(torch.tensor([context]), given[None].clone())[0].softmax(-1)
        assert torch.equal(wide > 0, stock > 0), f"{key}: float32 keeps other tokens: choose another value"
        arrays[key] = round_to_40_bits(wide.numpy())
        cases.append({
            "key": key, "processors": {name: wanted.get(name) for name in NEUTRAL}, "context": context,
            "applied": [type(step).__name__ for step in processors], "kept": int((wide > 0).sum()),
        })
    computed = "float32 logits, widened; transformers' processors and the softmax in float64"
    return {"format": 1, "computed": computed, "cases": cases, "provenance": provenance}, arrays


def with_sequence_bias(wanted, logits, context):
    """The settings with their `bias` spelled as transformers wants it, [[[id], value], ...]."""
    if "bias" not in wanted:
        return wanted
    ranked = logits.argsort(descending=True, stable=True).tolist()
    ids = [context[-1] if place == "last" else ranked[place] for place in wanted["bias"]]
    assert len(set(ids)) == len(ids), "two biases on one token: choose another rank"
    others = {name: value for name, value in wanted.items() if name != "bias"}
    return others | {"sequence_bias": [[[token], value] for token, value in zip(ids, wanted["bias"].values())]}


# Values with which transformers makes no processor. Its defaults (top_k = 50) are not among them.
NEUTRAL = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": None, "repetition_penalty": 1.0, "sequence_bias": None}
