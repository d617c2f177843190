# /// script
# requires-python = ">=3.10"
# dependencies = ["openai==3.57.0"]
# ///
"""Uses `rbees-check serve` with the official `openai` client of PyPI: chat, streaming, log-probabilities, stop
strings, errors. Prints one line per check, and exits with 1 if one fails.

    rbees-check serve --unchecked &
    uv run scripts/serve_clients.py http://127.0.0.1:8080
"""

import math
import sys

import openai

BASE = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
KEY = sys.argv[2] if len(sys.argv) > 2 else "no key is needed"
client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0)
MODEL = client.models.list().data[0].id
MESSAGES = [{"role": "user", "content": "And the king said unto"}]
failed = 0


def check(name, holds, shown=""):
    global failed
    failed += not holds
    print(f"{'ok  ' if holds else 'FAIL'}  {name}  {shown}")


def chat(**more):
    return client.chat.completions.create(
        **{"model": MODEL, "messages": MESSAGES, "temperature": 0, "max_tokens": 24, **more}
    )


def refused(name, error, call, param=None):
    try:
        call()
    except error as e:
        check(name, param is None or e.param == param, f"{e.status_code} {e.code} {e.param}")
    except openai.OpenAIError as e:
        check(name, False, repr(e))
    else:
        check(name, False, "no error")


whole = chat()
text = whole.choices[0].message.content
check("chat", bool(text) and whole.usage.completion_tokens <= 24, repr(text))
check("chat: finish reason", whole.choices[0].finish_reason in ("stop", "length"), whole.choices[0].finish_reason)

parts = list(chat(stream=True, stream_options={"include_usage": True}))
joined = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
check("chat, streamed: the same text", joined == text, f"{len(parts)} parts")
check("chat, streamed: usage", parts[-1].usage == whole.usage, str(parts[-1].usage and parts[-1].usage.total_tokens))
check("chat, streamed: role first", parts[0].choices[0].delta.role == "assistant")

scored = chat(logprobs=True, top_logprobs=3).choices[0]
tokens = scored.logprobs.content
check("log-probabilities: bytes are the text", bytes(b for t in tokens for b in t.bytes).decode() == text)
check("log-probabilities: greedy is the most likely", all(t.logprob == t.top_logprobs[0].logprob for t in tokens))
check("log-probabilities: probabilities", all(sum(math.exp(o.logprob) for o in t.top_logprobs) <= 1 + 1e-9 for t in tokens))

stop = text[len(text) // 2 : len(text) // 2 + 3]
stopped = chat(stop=[stop]).choices[0]
check("stop", stopped.message.content == text[: text.find(stop)] and stopped.finish_reason == "stop", repr(stop))

several = chat(n=3, temperature=1, seed=7)
check("n", [choice.index for choice in several.choices] == [0, 1, 2])
again = chat(n=3, temperature=1, seed=7)
check("seed", [c.message.content for c in several.choices] == [c.message.content for c in again.choices])

# The client raises an error if a limit ends the text, so this one ends at a stop string.
with client.chat.completions.stream(model=MODEL, messages=MESSAGES, temperature=0, max_tokens=24, stop=stop) as stream:
    final = stream.get_final_completion()
check("the client's own accumulation of a stream", final.choices[0].message.content == text[: text.find(stop)])

legacy = client.completions.create(model=MODEL, prompt="And the king", max_tokens=8, temperature=0, logprobs=2)
check("completion", bool(legacy.choices[0].text) and len(legacy.choices[0].logprobs.tokens) == 8, repr(legacy.choices[0].text))
streamed = client.completions.create(model=MODEL, prompt="And the king", max_tokens=8, temperature=0, stream=True)
check("completion, streamed", "".join(part.choices[0].text for part in streamed) == legacy.choices[0].text)
batch = client.completions.create(model=MODEL, prompt=["And the king", "In the"], max_tokens=8, temperature=0)
check("completion, two prompts", batch.choices[0].text == legacy.choices[0].text and len(batch.choices) == 2)

tool = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
refused("error: tools", openai.BadRequestError, lambda: chat(tools=tool), "tools")
refused("error: response_format", openai.BadRequestError, lambda: chat(response_format={"type": "json_object"}), "response_format")
refused("error: a wrong value", openai.BadRequestError, lambda: chat(temperature=3), "temperature")
refused("error: another model", openai.NotFoundError, lambda: chat(model="gpt-4"))
refused("error: an unknown parameter", openai.BadRequestError, lambda: chat(extra_body={"mirostat": 2}), "mirostat")
refused("error: a long prompt", openai.BadRequestError, lambda: chat(messages=[{"role": "user", "content": "word " * 40000}]), "messages")
chat(user="me", metadata={"a": "b"}, store=True, max_tokens=1)
check("parameters without effect", True)

print(f"{failed} failed")
sys.exit(failed > 0)
