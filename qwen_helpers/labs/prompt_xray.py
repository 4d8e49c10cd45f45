"""The X-ray of a prompt: the exact text that the model reads, with roles in colour and tokens counted.

Lesson 3 uses it to check a template by eye, lesson 9 to show which tokens a model learns from.
"""

import html

from qwen_helpers.columns import left
from qwen_helpers.language import N_, _

COLOURS = {"system": "#e8def8", "user": "#d3e8fd", "assistant": "#d8f0d8", "tool": "#fde7c8"}
LABELS = {N_("learnt"): "#9ad8a0", N_("only read"): "#eeeeee"}  # of `xray_labels`


class XRay:
    """What `xray` returns: JupyterLab shows it in colour, `print` as a table."""

    def __init__(self, tokens: list[tuple[str, str, bool]]):
        self.tokens = tokens  # one (text, role, is it special?) per token

    def counts(self) -> dict[str, int]:
        """Tokens per role, markers included, in the order of their first appearance."""
        counts: dict[str, int] = {}
        for _text, role, _special in self.tokens:
            counts[role] = counts.get(role, 0) + 1
        return counts

    def __repr__(self) -> str:
        before = _("(before the first role)")
        rows = [
            *((named(role) or before, count) for role, count in self.counts().items()),
            (_("total"), len(self.tokens)),
        ]
        return "\n".join(_("{role} {count:5d} tokens").format(role=left(role, 12), count=count) for role, count in rows)

    def _repr_html_(self) -> str:
        spans = []
        for text, role, special in self.tokens:
            style = f"background:{(COLOURS | LABELS).get(role, '#eee')};color:#222;border-right:1px solid #fff;"
            style += "font-weight:bold;color:#a3004c;" if special else ""
            shown = html.escape(text).replace("\n", "↵<br>")
            spans.append(f'<span style="{style}">{shown}</span>')
        text = _("text")
        legend = _(", ").join(f"{named(role) or text}: {count}" for role, count in self.counts().items())
        tokens = _("Tokens: {legend}; {count} in all. Special tokens are bold; ↵ is a line break.")
        return (
            f'<div style="font-family:monospace;line-height:1.7">{"".join(spans)}</div>'
            f"<p>{tokens.format(legend=legend, count=len(self.tokens))}</p>"
        )


def named(role: str) -> str:
    """A label in the reader's language; a role's name is the same in all."""
    return _(role) if role in LABELS else role


def xray(tokenizer, messages) -> XRay:
    """Take apart the prompt that `tokenizer` makes of `messages`, ready for the model's answer.

    A role's tokens run from one `<|im_start|>` to the next. Half characters are shown as bytes, such as `[f0][9f]`.
    """
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    special, role, tokens = set(tokenizer.all_special_ids), "", []
    for position, token in enumerate(ids):
        if token == start:
            role = tokenizer.decode(ids[position + 1 : position + 20]).split("\n")[0]
        tokens.append((readable(tokenizer, token), role, token in special))
    return XRay(tokens)


def xray_labels(tokenizer, ids: list[int], labels: list[int]) -> XRay:
    """Take apart one dialogue as a trainer sees it: `ids` are its tokens, `labels` what the loss looks at, as long.

    A label of -100 means that the loss skips the token: the model reads it, and does not learn to write it.
    """
    if len(ids) != len(labels):
        raise ValueError(
            _("{ids} ids and {labels} labels: give both of the same dialogue.").format(ids=len(ids), labels=len(labels))
        )
    special = set(tokenizer.all_special_ids)
    parts = ["only read" if label == -100 else "learnt" for label in labels]
    return XRay([(readable(tokenizer, t), part, t in special) for t, part in zip(ids, parts, strict=True)])


def readable(tokenizer, token: int) -> str:
    """The text of one token; bytes in hexadecimal if they are only a part of a character."""
    text = tokenizer.decode([token])
    if "\ufffd" not in text:
        return text
    # Byte-level BPE writes each byte as one printable character; the decoder's table turns it back.
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    table = {character: byte for byte, character in bytes_to_unicode().items()}
    return "".join(f"[{table[c]:02x}]" for c in tokenizer.convert_ids_to_tokens(token))
