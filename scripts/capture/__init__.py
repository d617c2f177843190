"""How a reference is captured: one file a question.

    arithmetic.py  in what precision, and in what order, is a sum taken?
    taps.py        where are the values seen, and how are they replaced?
    cases.py       which prompts, which rows, which sites?
    reference.py   truth: one float64 pass, every site recorded
    noise.py       how far from truth does PyTorch itself land?
    prove.py       are the patched functions still transformers' own?
    quantized.py   what do kernels on blocks of weights compute?
    models.py      weights from a directory or a GGUF file
    names.py       what GGUF calls the tensors
    facts.py       config, tensors and files of a model, by their hashes
    tokens.py      text <-> ids
    vocabulary.py  tokens, merges, special tokens and chat template, by their hashes
    generation.py  greedy text and sampling distributions
    files.py       bytes on disk: the same every time
"""
