"""Write TROUBLES.md and TROUBLES.zh-CN.md from the catalogue: `python tests/trouble_page.py`.

The heading of an entry is the text that people see, since that is what they search for; below it stand the other
spellings. An anchor with the entry's id comes before each heading, for links from the lessons and from explain().
test_troubles.py proves that both pages are fresh.
"""

import os

from lessons import LESSONS, ROOT, ZH

from qwen_helpers.language import _
from qwen_helpers.troubles import GROUPS, PAGE, Trouble, catalogue, code_to_copy

# A judgement: what comes back most in the threads that the entries name, and in the posts of tests/posted.
MOST_MET = ("G3", "I4", "L4", "D5", "G7", "G1", "J1", "L2", "D7", "C1", "C9", "I15", "V2", "W1", "D13")
TITLES = {  # by group: in English, in Chinese
    "I": ("Install", "安装"), "D": ("Download", "下载"), "L": ("Load a model", "加载模型"), "C": ("Chat", "对话"),
    "S": ("Stream", "流式输出"), "G": ("GPU and memory", "显卡与内存"), "Q": ("Quantized models", "量化模型"),
    "V": ("Servers and their clients", "服务器和客户端"),
    "O": ("Ollama, llama.cpp, LM Studio, MLX", "Ollama、llama.cpp、LM Studio、MLX"),
    "T": ("Fine-tune and convert", "微调与转换"), "P": ("PaddleNLP", "PaddleNLP"), "J": ("Jupyter", "Jupyter"),
    "W": ("Windows", "Windows"),
}  # fmt: skip
TODAY = {
    "changed": ("Today's versions say it with another text.", "现在的版本报的是另一段文字。"),
    "gone": ("It no longer happens with the tested versions.", "测试过的版本不再出现它。"),
    "old only": ("It takes an older version than the tested ones.", "只有比测试过的更旧的版本才会出现。"),
    "not raised here": (
        "No test raises it: it needs Windows, a Mac, a GPU, the internet or another program.",
        "测试里没法复现它：需要 Windows、Mac、GPU、互联网或别的程序。",
    ),
}
WORDS = {
    "symptom": ("**{id}: {symptom}.** {cause}", "**{id}：{symptom}**。{cause}"),
    "cure": ("**Cure:** {cure}", "**解决办法**：{cure}"), "others": ("Also as:", "也会报成："),
    "since": ("Since {version}.", "从 {version} 起。"), "until": ("Until {version}.", "到 {version} 为止。"),
    "see": ("See {places}.", "见 {places}。"),
}  # fmt: skip
HEAD = (
    """# Troubles: error messages of Qwen on your own machine, and their cures

<!-- Written by tests/trouble_page.py from qwen_helpers/known_troubles. -->

**English** · [简体中文](TROUBLES.zh-CN.md)

{count} troubles that people meet when they install, download, load, run, serve and fine-tune Qwen models with transformers, ModelScope, ms-swift, vLLM, Ollama, llama.cpp and PaddleNLP. The heading of each is the text that you see: search this page for a piece of it without your own names and paths. Faster: in a notebook of the course `explain()` after the error; in a terminal

```
python course.py explain
```

then paste the text and press Enter twice. That needs no installed package. [Lesson 11](notebooks/11_troubleshooting.ipynb) teaches how to read an error and how to find the troubles that raise none. `%pip` is for a notebook; in a terminal write `python -m pip`.

## Met most often

{most}
""",  # noqa: E501
    """# 故障：在自己的电脑上跑 Qwen 时的报错，和它们的解决办法

<!-- Written by tests/trouble_page.py from qwen_helpers/known_troubles. -->

[English](TROUBLES.md) · **简体中文**

用 transformers、ModelScope（魔搭）、ms-swift、vLLM、Ollama、llama.cpp 和 PaddleNLP 安装、下载、加载、运行、部署、微调 Qwen 时，人们会遇到的 {count} 个故障。每一条的标题就是你看到的那段文字：在本页里搜索其中的一小段，去掉你自己的名字和路径。更快的办法：在课程的笔记本里，报错之后运行 `explain()`；在终端里运行

```
python course.py explain
```

然后粘贴报错，按两次回车，不需要安装任何包。[第 11 课](notebooks/zh/11_troubleshooting.ipynb)教你怎么读报错，怎么找出不报错的故障。`%pip` 是笔记本里的写法；在终端里写 `python -m pip`。

## 最常遇到的

{most}
""",  # noqa: E501
)
CHINESE = {"en": 0, "zh": 1}  # which of two texts


def say(name: str, **values) -> str:
    return WORDS[name][CHINESE[os.environ["QWEN_LANG"]]].format(**values)


def heading(trouble: Trouble) -> str:
    """The literal text as code, or for a trouble without a text what one notices."""
    if not trouble.text:
        symptom = _(trouble.symptom)
        return symptom[0].upper() + symptom[1:]
    ticks = "``" if "`" in trouble.text else "`"
    space = " " if trouble.text.startswith("`") or trouble.text.endswith("`") else ""
    return f"{ticks}{space}{trouble.text}{space}{ticks}"


def other_spellings(trouble: Trouble) -> list[str]:
    """Patterns that the heading does not hold, as lines of text; a star becomes three dots."""
    texts = [pattern.strip().replace("*", "...") for pattern in trouble.everything]
    return [text for text in dict.fromkeys(texts) if text.lower() not in trouble.text.lower()][:8]


def entry(trouble: Trouble) -> str:
    chinese = CHINESE[os.environ["QWEN_LANG"]]
    lines = [f'<a id="{trouble.id}"></a>', "", f"### {heading(trouble)}", ""]
    if trouble.text:
        lines.append(say("symptom", id=trouble.id, symptom=_(trouble.symptom), cause=_(trouble.cause)))
    else:
        lines.append(f"**{trouble.id}.** {_(trouble.cause)}")
    language = "text" if trouble.code.startswith(("{", '"')) else "python"
    lines += ["", say("cure", cure=_(trouble.cure)), ""]
    lines += [f"```{language}", code_to_copy(trouble), "```"]
    if others := other_spellings(trouble):
        lines += ["", say("others"), "", "```text", *others, "```"]
    facts = [say(name, version=getattr(trouble, name)) for name in ("since", "until") if getattr(trouble, name)]
    facts += [sentences[chinese] for today, sentences in TODAY.items() if today == trouble.today]
    lesson = LESSONS[trouble.lesson - 1]
    place = (ZH / lesson.name if chinese else lesson).relative_to(ROOT).as_posix()
    places = [f"[{_('lesson {number}').format(number=trouble.lesson)}]({place})"]
    places += [f"[{thread}](https://github.com/{thread.replace('#', '/issues/')})" for thread in trouble.threads]
    facts.append(say("see", places=_(", ").join(places)))
    return "\n".join([*lines, "", ("" if chinese else " ").join(facts), ""])


def page(language: str = "en") -> str:
    """The page in this language. It sets QWEN_LANG, which `_` reads."""
    assert set(TITLES) == set(GROUPS), "each group has a title"
    os.environ["QWEN_LANG"] = language
    troubles = {trouble.id: trouble for trouble in catalogue()}
    most = "\n".join(f"- [{id}](#{id}) {heading(troubles[id])}" for id in MOST_MET)
    parts = [HEAD[CHINESE[language]].format(count=len(troubles), most=most)]
    for letter, titles in TITLES.items():
        entries = [trouble for trouble in troubles.values() if trouble.id.startswith(letter)]
        parts += [f"## {titles[CHINESE[language]]}\n", *map(entry, entries)]
    return "\n".join(parts)


if __name__ == "__main__":
    for language in CHINESE:
        text = page(language)
        (ROOT / _(PAGE)).write_text(text, encoding="utf-8")
