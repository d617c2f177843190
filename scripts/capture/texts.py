"""The texts of the fixtures: prompts, and what tokenizers trip over."""

GENESIS = """In the beginning God created the heaven and the earth.
And the earth was without form, and void; and darkness was upon the face of the deep. And the Spirit of God moved upon the face of the waters.
And God said, Let there be light: and there was light.
And God saw the light, that it was good: and God divided the light from the darkness.
And God called the light Day, and the darkness he called Night. And the evening and the morning were the first day.
And God said, Let there be a firmament in the midst of the waters, and let it divide the waters from the waters.
And God made the firmament, and divided the waters which were under the firmament from the waters which were above the firmament: and it was so.
And God called the firmament Heaven. And the evening and the morning were the second day."""

CREATION = GENESIS + """
And God said, Let the waters under the heaven be gathered together unto one place, and let the dry land appear: and it was so.
And God called the dry land Earth; and the gathering together of the waters called he Seas: and God saw that it was good.
And God said, Let the earth bring forth grass, the herb yielding seed, and the fruit tree yielding fruit after his kind, whose seed is in itself, upon the earth: and it was so.
And the earth brought forth grass, and herb yielding seed after his kind, and the tree yielding fruit, whose seed was in itself, after his kind: and God saw that it was good.
And the evening and the morning were the third day."""

FRANCE = "The capital of France is"
CHAT = [{"role": "user", "content": "What is the capital of France?"}]

GREEDY = {
    "smollm2-135m": [
        FRANCE,
        "Once upon a time, in a small village,",
        "def fibonacci(n):\n",
        "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
        "Water boils at 100 degrees Celsius, which is",
    ],
    "tiny-llama": [
        "And God said,",
        "In the beginning",
        "<|im_start|>user\nAnd the LORD spake<|im_end|>\n<|im_start|>assistant\n",
        "The king of",
        "Blessed are they that",
    ],
    "tiny-llama:q8_0": ["And God said,", "In the beginning", "The king of", "Blessed are they that"],
    "tiny-llama2": ["And God said,", "In the beginning", "The king of", "Blessed are they that"],
}

# name of an array -> generation settings; transformers puts its processors in its own order. A bias is on the
# token of that rank among the logits (0 is the likeliest), or on the last token of the context.
SAMPLING = {
    "t0.7": {"temperature": 0.7},
    "t1.5": {"temperature": 1.5},
    "k5": {"top_k": 5},
    "k40": {"top_k": 40},
    "p0.9": {"top_p": 0.9},
    "p0.5": {"top_p": 0.5},
    "m0.1": {"min_p": 0.1},
    "r1.3": {"repetition_penalty": 1.3},
    "r1.3-k40": {"repetition_penalty": 1.3, "top_k": 40},
    "t0.7-k40-p0.9": {"temperature": 0.7, "top_k": 40, "top_p": 0.9},
    "t1.5-k40-p0.9": {"temperature": 1.5, "top_k": 40, "top_p": 0.9},
    "t1.5-m0.1": {"temperature": 1.5, "min_p": 0.1},
    "r1.3-t0.7-p0.9": {"repetition_penalty": 1.3, "temperature": 0.7, "top_p": 0.9},
    "r1.3-t1.5-k40-p0.9-m0.1": {
        "repetition_penalty": 1.3, "temperature": 1.5, "top_k": 40, "top_p": 0.9, "min_p": 0.1},
    "t3-p0.9": {"temperature": 3.0, "top_p": 0.9},
    "t3-m0.02": {"temperature": 3.0, "min_p": 0.02},
    "t3-k40-m0.02": {"temperature": 3.0, "top_k": 40, "min_p": 0.02},
    "t3-p0.9-m0.05": {"temperature": 3.0, "top_p": 0.9, "min_p": 0.05},
    "r1.3-t3": {"repetition_penalty": 1.3, "temperature": 3.0},
    "r1.3-t3-m0.02": {"repetition_penalty": 1.3, "temperature": 3.0, "min_p": 0.02},
    "r0.8-t1.5-k40": {"repetition_penalty": 0.8, "temperature": 1.5, "top_k": 40},  # below 1 it rewards
    "b": {"bias": {0: -6.0, 5: 2.5}},
    "b-t3-k5": {"bias": {0: -6.0, 7: 4.0}, "temperature": 3.0, "top_k": 5},
    "b-t1.5-p0.9": {"bias": {0: -6.0, 7: 4.0}, "temperature": 1.5, "top_p": 0.9},
    "b-t1.5-m0.02": {"bias": {0: -6.0, 7: 4.0}, "temperature": 1.5, "min_p": 0.02},
    "b-r1.3": {"bias": {0: -6.0, "last": 24.0}, "repetition_penalty": 1.3},  # the order of these two shows
    "b-r1.3-t3-k40-p0.9-m0.02": {
        "bias": {0: -6.0, 5: 2.5, "last": 9.0}, "repetition_penalty": 1.3, "temperature": 3.0, "top_k": 40, "top_p": 0.9,
        "min_p": 0.02},
}
# A full distribution over 49152 tokens is 0.3 MB: one is enough. And after "The capital of France is" many
# settings keep " Paris" alone, which tells nothing.
SAMPLING_OF = {"smollm2-135m": [
    "t0.7", "k5", "k40", "p0.9", "r1.3-k40", "t1.5-m0.1", "t1.5-k40-p0.9", "r1.3-t1.5-k40-p0.9-m0.1",
    "t3-k40-m0.02", "b-t3-k5", "b-t1.5-p0.9", "b-t1.5-m0.02", "b-r1.3-t3-k40-p0.9-m0.02"]}

TOKENS = [
    "",
    "The capital of France is",
    "And God said, Let there be light",
    "Hello, world! It's what they'd've said.",
    "1234567",
    "3.14159",
    "In 2024, 12 of 365 days",
    "double  spaces   and    more",
    " leading space",
    "trailing space ",
    "   ",
    "line one\nline two\n\nline four\r\n",
    "\ttabs\t\tand \n newlines",
    "\n",
    "caf\u00e9 na\u00efve",  # e-acute as one character ...
    "cafe\u0301",  # ... and as two: not to be normalised
    "\u00bd cup, 10 m\u00b2",  # digits to Unicode, and to llama.cpp: not to GPT-2's own splitting
    "\u65e5\u672c\u8a9e\u306e\u6587",
    "\u041f\u0440\u0438\u0432\u0435\u0442",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",  # three emoji joined by zero-width joiners
    "non\u00a0breaking",
    "<|im_start|>user\nHi<|im_end|>\n",
    "a<|endoftext|>b",
    "<s>once</s>",
    "half a <|im_start token",
    "x = {'key': [1, 2]}  # code",
]

CHATS = [
    (CHAT, True),
    (CHAT, False),
    ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}], True),
    ([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4."},
      {"role": "user", "content": " Are you\nsure? "}], True),
]
