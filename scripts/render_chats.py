# /// script
# requires-python = ">=3.11"
# dependencies = ["transformers==5.23.0", "jinja2==3.1.6"]
# ///
"""Renders the chats of tests/chat_templates with its templates as transformers does, into rendered.json there.

    uv run scripts/render_chats.py

The templates have the constructs of public ones: Llama 2 and 3, Mistral, Qwen 2.5 and 3, Gemma, Phi 3, ChatML, Zephyr,
SmolLM 2, DeepSeek R1 and Granite; python_values has what Jinja in Python writes for values of each type.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

FOLDER = Path(__file__).parent.parent / "tests" / "chat_templates"


def rendered(template, chat):
    """The text, or {"error": the kind of error}."""
    chat = dict(chat)
    try:
        texts, _ = render_jinja_template(
            conversations=[chat.pop("messages")], tools=chat.pop("tools", None),
            documents=chat.pop("documents", None), chat_template=template, **chat,
        )
        return texts[0]
    except Exception as error:  # a template may raise anything
        return {"error": type(error).__name__}


def main():
    chats = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("chats/*.json"))}
    templates = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("templates/*.jinja"))}
    texts = {
        name: {chat: rendered(template, content) for chat, content in chats.items()}
        for name, template in templates.items()
    }
    text = json.dumps(texts, ensure_ascii=False, indent=1) + "\n"
    (FOLDER / "rendered.json").write_text(text, encoding="utf-8")
    errors = sum(isinstance(text, dict) for one in texts.values() for text in one.values())
    print(f"{len(templates)} templates, {len(chats)} chats, {errors} pairs that the template refuses")


if __name__ == "__main__":
    main()
