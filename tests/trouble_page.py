"""Write TROUBLES.md from the catalogue: `python tests/trouble_page.py`. test_troubles.py proves that it is fresh.

The heading of an entry is the text that people see, since that is what they search for; below it stand the other
spellings. An anchor with the entry's id comes before each heading, for links from the lessons and from explain().
"""

from lessons import LESSONS, ROOT

from qwen_helpers.troubles import GROUPS, PAGE, Trouble, catalogue

TITLES = {
    "I": "Install", "D": "Download", "L": "Load a model", "C": "Chat", "S": "Stream", "G": "GPU and memory",
    "Q": "Quantized models", "V": "Servers and their clients", "O": "Ollama, llama.cpp, LM Studio, MLX",
    "T": "Fine-tune and convert", "P": "PaddleNLP", "J": "Jupyter", "W": "Windows",
}  # fmt: skip
# A judgement: what comes back most in the threads that the entries name, and in the posts of tests/posted.
MOST_MET = ("G3", "I4", "L4", "D5", "G7", "G1", "J1", "L2", "D7", "C1", "C9", "I15", "V2", "W1", "D13")
TODAY = {
    "changed": "Today's versions say it with another text.",
    "gone": "It no longer happens with the tested versions.",
    "old only": "It takes an older version than the tested ones.",
    "not raised here": "No test raises it: it needs Windows, a Mac, a GPU, the internet or another program.",
}
HEAD = """# Troubles: error messages of Qwen on your own machine, and their cures

<!-- Written by tests/trouble_page.py from qwen_helpers/known_troubles. -->

{count} troubles that people meet when they install, download, load, run, serve and fine-tune Qwen models with transformers, ModelScope, ms-swift, vLLM, Ollama, llama.cpp and PaddleNLP. The heading of each is the text that you see: search this page for a piece of it without your own names and paths. Faster: in a notebook of the course `explain()` after the error; in a terminal

```
python course.py explain
```

then paste the text and press Enter twice. That needs no installed package. [Lesson 11](notebooks/11_troubleshooting.ipynb) teaches how to read an error and how to find the troubles that raise none. `%pip` is for a notebook; in a terminal write `python -m pip`.

## Met most often

{most}
"""  # noqa: E501


def heading(trouble: Trouble) -> str:
    """The literal text as code, or for a trouble without a text what one notices."""
    if not trouble.text:
        return trouble.symptom[0].upper() + trouble.symptom[1:]
    ticks = "``" if "`" in trouble.text else "`"
    space = " " if trouble.text.startswith("`") or trouble.text.endswith("`") else ""
    return f"{ticks}{space}{trouble.text}{space}{ticks}"


def other_spellings(trouble: Trouble) -> list[str]:
    """Patterns that the heading does not hold, as lines of text; a star becomes three dots."""
    texts = [pattern.strip().replace("*", "...") for pattern in trouble.everything]
    return [text for text in dict.fromkeys(texts) if text.lower() not in trouble.text.lower()][:8]


def entry(trouble: Trouble) -> str:
    lines = [f'<a id="{trouble.id}"></a>', "", f"### {heading(trouble)}", ""]
    lines.append(f"**{trouble.id}{f': {trouble.symptom}' * bool(trouble.text)}.** {trouble.cause}")
    language = "text" if trouble.code.startswith(("{", '"')) else "python"
    lines += ["", f"**Cure:** {trouble.cure}", "", f"```{language}", trouble.code, "```"]
    if others := other_spellings(trouble):
        lines += ["", "Also as:", "", "```text", *others, "```"]
    facts = [f"Since {trouble.since}."] * bool(trouble.since) + [f"Until {trouble.until}."] * bool(trouble.until)
    facts += [sentence for today, sentence in TODAY.items() if today == trouble.today]
    places = [f"[lesson {trouble.lesson}](notebooks/{LESSONS[trouble.lesson - 1].name})"]
    places += [f"[{thread}](https://github.com/{thread.replace('#', '/issues/')})" for thread in trouble.threads]
    return "\n".join([*lines, "", " ".join([*facts, f"See {', '.join(places)}."]), ""])


def page() -> str:
    assert set(TITLES) == set(GROUPS), "each group has a title"
    troubles = {trouble.id: trouble for trouble in catalogue()}
    most = "\n".join(f"- [{id}](#{id}) {heading(troubles[id])}" for id in MOST_MET)
    parts = [HEAD.format(count=len(troubles), most=most)]
    for letter, title in TITLES.items():
        entries = [trouble for trouble in troubles.values() if trouble.id.startswith(letter)]
        parts += [f"## {title}\n", *map(entry, entries)]
    return "\n".join(parts)


if __name__ == "__main__":
    (ROOT / PAGE).write_text(page(), encoding="utf-8")
