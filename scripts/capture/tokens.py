"""Text <-> ids, by the `tokenizers` library, and chat templates, by jinja as transformers renders them.

transformers' GGUF tokenizer ignores `tokenizer.ggml.pre`, so it splits '½' and '²' as GPT-2 would. Here the
tokenizer is put together from the file's own tokens and merges by llama.cpp's rules for that `pre`.
"""

import json
from functools import cached_property

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers.utils.chat_template_utils import render_jinja_template

from .files import Trouble

# llama.cpp cuts a text by each expression in turn, every match and every gap a piece of its own.
# The last step of each list is ByteLevel's own expression, which is GPT-2's.
PRE = {
    "smollm": [r"\p{N}"],  # digits one by one; \p{N} has '½' and '²' too
    "gpt-2": [],
    "default": [],
}
CONTROL, USER_DEFINED = 3, 4  # tokenizer.ggml.token_type


class Words:
    """A tokenizer and, where the model has one, its chat template."""

    def __init__(self, tokenizer, template=None, special=None):
        self.tokenizer, self.template, self.special = tokenizer, template, special or {}

    def encode(self, text, add_special_tokens=True):
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def chat(self, messages, add_generation_prompt=True):
        """The text that the template makes of a conversation, and its ids.

        The template writes the special tokens itself: adding them again would give two BOS.
        """
        texts, _ = render_jinja_template([messages], chat_template=self.template,
                                         add_generation_prompt=add_generation_prompt, **self.special)
        return texts[0], self.encode(texts[0], add_special_tokens=False)


def from_directory(path):
    """The tokenizer.json of a Hugging Face directory."""
    if not (path / "tokenizer.json").is_file():
        return None  # ids only
    settings = {}
    if (path / "tokenizer_config.json").is_file():
        settings = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = settings.get("chat_template")
    if template is None and (path / "chat_template.jinja").is_file():
        template = (path / "chat_template.jinja").read_text(encoding="utf-8")
    text = lambda token: token["content"] if isinstance(token, dict) else token
    special = {key: text(settings[key]) for key in ("bos_token", "eos_token", "unk_token", "pad_token") if settings.get(key)}
    return Words(Tokenizer.from_file(str(path / "tokenizer.json")), template, special)


def from_gguf(path):
    """llama.cpp's byte-level BPE for the `pre` that the file names; None for kinds not built here."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    get = lambda key, default=None: fields[f"tokenizer.{key}"].contents() if f"tokenizer.{key}" in fields else default
    if get("ggml.model") != "gpt2" or get("ggml.pre", "default") not in PRE:
        return None  # ids only
    pieces, kinds = get("ggml.tokens"), get("ggml.token_type")
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [tuple(merge.split(" ", 1)) for merge in get("ggml.merges")]

    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    cuts = [pre_tokenizers.Split(Regex(cut), "isolated") for cut in PRE[get("ggml.pre", "default")]]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    for piece, kind in zip(pieces, kinds):
        if kind in (CONTROL, USER_DEFINED):
            tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False)])
    name = lambda key: pieces[get(key)] if get(key) is not None else None
    bos, eos = name("ggml.bos_token_id"), name("ggml.eos_token_id")
    if get("ggml.add_bos_token", False):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, get("ggml.bos_token_id"))])
    return Words(tokenizer, get("chat_template"), {k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v})


def ids_of(model, prompt):
    if model.tokenizer is None:
        raise Trouble(f"{model.path} has no tokenizer that this script can build", "give token ids: --ids 1,2,3")
    return model.tokenizer.encode(prompt)


def table(model, texts, chats, provenance):
    """tokens.json"""
    words = model.tokenizer
    encode = []
    for text in texts:
        with_special, without = words.encode(text, True), words.encode(text, False)
        encode.append(_row(words, text, True, with_special))
        if without != with_special or text == texts[-1]:  # once where it makes no difference, else always
            encode.append(_row(words, text, False, without))
    chat = []
    for messages, prompt in chats if words.template else []:
        text, ids = words.chat(messages, prompt)
        chat.append({"messages": messages, "add_generation_prompt": prompt, "text": text, "ids": ids})
    return {"format": 1, "encode": encode, "chat": chat, "provenance": provenance}


def _row(words, text, add, ids):
    return {"text": text, "add_special_tokens": add, "ids": ids, "decoded": words.decode(ids)}
