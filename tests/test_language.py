"""The reader's language: which one, whether every text has its translation, and whether every text is marked."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import translate
from lessons import ROOT

from qwen_helpers import check, explain, language, preflight
from qwen_helpers.columns import WORDS, left, right, width, wrap
from qwen_helpers.diagnosis import folder_findings, report
from qwen_helpers.folder_check import AGAIN, ANEW
from qwen_helpers.language import VARIABLES, _, reader_language
from qwen_helpers.tools.teach import write_page
from qwen_helpers.troubles import find

# ---- which language --------------------------------------------------------------------------------------------------


@pytest.fixture
def variables(monkeypatch):
    """A function that sets some of the variables which say the language, and no other."""

    def only(**values):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return only


@pytest.mark.parametrize(
    "values, spoken",
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "en"),
        ({"LC_MESSAGES": "en_GB.UTF-8", "LC_ALL": "zh_CN.GBK"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANGUAGE": "fr:zh_CN:en", "LC_ALL": "en_US.UTF-8"}, "zh"),
        ({"LANGUAGE": "en:zh_CN", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"QWEN_LANG": "zh", "LANGUAGE": "en", "LC_ALL": "C"}, "zh"),
        ({"QWEN_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"QWEN_LANG": "", "LANG": "zh_CN.UTF-8"}, "zh"),
    ],
)
def test_the_variables_say_the_language_ours_first(variables, values, spoken):
    variables(**values)
    assert reader_language() == spoken


@pytest.mark.parametrize(
    "name, spoken",
    [("zh_CN", "zh"), ("Chinese (Simplified)_China", "zh"), ("English_United States", "en"), (None, "en")],
)
def test_on_windows_the_system_is_asked(variables, monkeypatch, name, spoken):
    variables()
    monkeypatch.setattr(language.locale, "getlocale", lambda: (name, "936"))
    assert reader_language() == spoken


def test_a_language_that_python_does_not_know_is_english(variables, monkeypatch):
    def unknown():
        raise ValueError("unknown locale: UTF-8")

    variables()
    monkeypatch.setattr(language.locale, "getlocale", unknown)
    assert reader_language() == "en"


@pytest.mark.parametrize("content", [None, b"", b"not a catalogue", b"\xde\x12\x04\x95\0\0\0\0\x10\0\0\0\xff\xff\xff"])
def test_a_missing_or_broken_catalogue_leaves_english(monkeypatch, tmp_path, content):
    folder = tmp_path / "zh" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "helpers.mo").write_bytes(content)
    monkeypatch.setenv("QWEN_LANG", "zh")
    monkeypatch.setattr(language, "LOCALE", tmp_path)
    language.translations.cache_clear()
    try:
        assert _("It fits.") == "It fits."
    finally:
        language.translations.cache_clear()


def test_python_3_6_can_read_what_course_py_needs():
    for file in ("course.py", "qwen_helpers/language.py"):
        ast.parse((ROOT / file).read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = re.findall(r"(?m)^\s*(?:import|from) (\w+)", (ROOT / "qwen_helpers/language.py").read_text("utf-8"))
    assert set(imported) <= sys.stdlib_module_names


# ---- the translations ------------------------------------------------------------------------------------------------

TEXTS = {name: collect() for name, collect in translate.CATALOGUES.items()}
each_catalogue = pytest.mark.parametrize("name", TEXTS)


@each_catalogue
def test_every_text_has_a_translation_and_no_translation_has_lost_its_text(name):
    found = translate.read(name)
    assert [text for text in TEXTS[name] if not found.get(text)] == []
    assert [text for text in found if text not in TEXTS[name]] == []


@each_catalogue
def test_the_files_are_as_translate_writes_them(name):
    po, mo = translate.made(TEXTS[name], translate.read(name))
    assert (translate.FOLDER / f"{name}.po").read_bytes() == po, "run python tests/translate.py"
    assert (translate.FOLDER / f"{name}.mo").read_bytes() == mo, "run python tests/translate.py"


@each_catalogue
def test_a_translation_has_the_same_fields_and_the_same_code(name):
    for text, translation in translate.read(name).items():
        for pattern in (r"\{\w*(?:![ra])?(?::[^{}]*)?\}", r"%[\d.]*[dfs]"):
            if name == "helpers":
                assert sorted(set(re.findall(pattern, text))) == sorted(set(re.findall(pattern, translation))), text
        if translate.COMMENT.search(text) and name == "troubles" and "#" in translation:
            assert text.partition("#")[0] == translation.partition("#")[0]


def test_errors_of_the_course_are_known_in_chinese_as_in_english(monkeypatch):
    def said(text, spoken):
        monkeypatch.setenv("QWEN_LANG", spoken)
        values = {"safe": "model.safetensors", "name": "model.safetensors.index.json", "size": "12", "end": "13"}
        values |= {"again": _(AGAIN), "anew": _(ANEW), "template": _("no")}
        return re.sub(r"\{(\w*)[^{}]*\}", lambda field: values.get(field[1], "x"), _(text))

    for text, files in TEXTS["helpers"].items():
        if any(file.startswith(("qwen_helpers/fold", "qwen_helpers/engines", "qwen_helpers/kernel")) for file in files):
            english, chinese = ([each.id for each in find(f"OSError: {said(text, way)}")] for way in ("en", "zh"))
            assert english[:1] == chinese[:1], text


# ---- texts that nobody marked ----------------------------------------------------------------------------------------

SAID = [
    file
    for file in [ROOT / "course.py", *sorted((ROOT / "qwen_helpers").rglob("*.py"))]
    if file.name != "raised.py" and (not {"tiny", "tools"} & set(file.parts) or file.name == "teach.py")
]
TREES = {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in SAID}
# Two words, or one beside a value.
WORDY = re.compile(r"(?<![-\w/.])[A-Za-z]{2,}[,;:.]? [a-z]{2,}|\} [a-z]{3,}|[a-z]{3,}:? \{")
LOOKS_LIKE_CODE = re.compile(
    r"^<|^\^|import |^python |: ?#|border-|[;:]\{|^bytes |^Bearer |^#|^data: |^\{\}\n  Linux|^(SELECT|INSERT|CREATE) "
)
ENGLISH = {
    "said to a tiny model or by it, in an exercise or a measurement": (
        "What will this course teach me?", "Small models run on small machines.", "Small models run.",
        "Hello! I am the tiny model", "What is a token?", "A token is a piece", "Name three colours.",
        "What is 12 times 12?", "My name is Lin.", "think first.", "One, tw", "answer {}", "And now?", "Good morning!",
    ),
    "of the server that an exercise pretends": ("too much", "The server refuses: too much.", "Answer to"),
    "looked up in known_troubles/fetch_model.json, and only quoted": (
        "no file matches", "no answer within", "the answer is not a list", "{} in the hub's list leads",
        "the hub lists no files", "{} MB are missing", "{} is not there", "{} has {} bytes instead",
    ),
    "read by ModelScope's client, in the hub's protocol": (
        "an empty line is no request", "this is no address", "a request has one Host", "this hub is not {}",
        "this hub has", "{} has no file {}", "{} has changed on the hub's disk", "{} has {} bytes",
        "the file has become shorter",
    ),
    "read by a model": ("there is no function {}", "Error: {}: {}"),
    "in a picture of matplotlib's, whose font has no Chinese": (
        "one reader", "wait for the first text", "learnt dialogues", "dialogues held back", "first loss",
        "step (of {})",
    ),
    "a line of a lesson, printed or searched as it is": (
        "students requests failures", "The solution is folded below",
        "Your teacher has the solutions.",
    ),
    "a developer's log": ("{} + {} tokens", "%s: %s, first text"),
    "words of the code: kinds, names and keys that are compared": (
        "own code", "line of data.jsonl", "on by default", "off by default", "old modelscope", "only read",
        "see its model card", "copy, numpy", "not slow", "onnx int", "tiny {}", "macOS {}", "Windows {}",
        "{}, Linux {}", "Server({} at",
    ),
    "another program's": (
        "No ccache found", "Setuptools is replacing", "IProgress not found", "is falling back to its", "Input should",
        "it should", "a GGUF file; with --engine", "Wheel-Version", "Name: {}", "Version: {}", "Requires-Dist: {}",
    ),
}  # fmt: skip


def text_of(node) -> str:
    """The text of a string or an f-string, {} for each value in it; "" for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)


def is_mark(node) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "N_")


def unmarked(node):
    """The texts outside `_` and `N_`; without docstrings, what is compared, and keys."""
    if is_mark(node) or isinstance(node, (ast.Compare, ast.Expr)) and not calls(node):
        return
    if text_of(node):
        yield text_of(node)
    pieces = node.keys if isinstance(node, ast.Dict) else node.values if isinstance(node, ast.JoinedStr) else []
    for child in ast.iter_child_nodes(node):
        if child not in pieces or isinstance(child, ast.FormattedValue):
            yield from unmarked(child)


def calls(node) -> bool:
    """Whether a statement that is an expression does something: a docstring does not."""
    return isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)


def test_every_text_for_a_reader_is_marked():
    allowed = [text for texts in ENGLISH.values() for text in texts]
    found = {(file, text) for file, tree in TREES.items() for text in unmarked(tree) if WORDY.search(text)}
    found = {(file, text) for file, text in found if not LOOKS_LIKE_CODE.search(text)}
    assert {(file, text) for file, text in found if not text.startswith(tuple(allowed))} == set(), "write it in _(...)"


def test_no_reason_to_stay_english_has_outlived_its_text():
    found = [text for tree in TREES.values() for node in ast.walk(tree) if (text := text_of(node))]
    for text in (text for texts in ENGLISH.values() for text in texts):
        assert any(each.startswith(text) for each in found), text


def test_marks_are_where_they_are_found_and_nothing_hides_them():
    """Babel sees no call in an f-string before Python 3.12, and a variable `_` would hide the function."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                texts = [call for call in ast.walk(node) if is_mark(call) and text_of(call.args[0])]
                assert not texts, f"{file}: translate before the f-string: {text_of(node)}"
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(map(is_mark, ast.walk(node))):
                names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
                names += [argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)]
                inner = [n for n in ast.walk(node) if isinstance(n, ast.comprehension)]
                hidden = [n.id for each in inner for n in ast.walk(each.target) if isinstance(n, ast.Name)]
                assert names.count("_") == hidden.count("_"), f"{file}: {node.name} has a variable _"


# ---- how Chinese looks -----------------------------------------------------------------------------------------------


def test_columns_count_a_chinese_letter_twice():
    assert width("内存 GB") == 7 and left("内存", 6) == "内存  " and right("内存", 6) == "  内存"
    text = (
        "再运行一次 `snapshot_download(...)`，它会从停下的地方（后缀 .incomplete）继续。“引号”也一样，别断在逗号前。"
        * 3
    )
    assert "".join(WORDS.findall(text)) == text
    lines = wrap(text, 40).splitlines()
    assert all(width(line) <= 42 and line[0] not in "，。）”：" and line[-1] not in "（“" for line in lines)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert max(map(width, lines)) > 36


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("QWEN_LANG", "zh")


def test_check_and_its_hints_speak_chinese(chinese, capsys):
    check("8.1", ...)
    check("8.1", 2 * 28 * 4 * 128 * 2)
    check("1.3", "2.2")
    untried, one, right_answer = capsys.readouterr().out.splitlines()
    assert untried == "练习 8.1：还不对。提示：把三个点换成你的答案。"
    assert one == "练习 8.1：还不对。提示：这是一个词元的；再乘以 8192。" and right_answer == "练习 1.3：答对了！"


def test_explain_speaks_chinese_and_keeps_error_texts(chinese):
    found = explain("KeyError: 'qwen2'")
    assert str(found).startswith("I4  ") and "解决办法：" in str(found) and "第 " in str(found)
    assert "**解决办法：**" in found._repr_markdown_()
    assert all(width(line) <= 100 for line in str(found).splitlines() if "http" not in line and "    " not in line)
    assert "课程的故障目录不认识这个错误" in str(explain("WeirdError: nothing like it"))


def test_preflight_lines_up(chinese):
    heads = [line for line in str(preflight("Qwen/Qwen3.5-4B")).splitlines() if "   " in line]
    assert len(heads) >= 5 and {width(re.match(r".*?[GM]B(?= )", line)[0]) for line in heads} == {24}


def test_doctor_and_its_findings_speak_chinese(chinese, tmp_path):
    lines = report().splitlines()
    assert lines[0].startswith("系统       ") and any(line.startswith("内存       ") for line in lines)
    (tmp_path / "model.safetensors.incomplete").touch()
    (finding,) = folder_findings(tmp_path)
    assert finding.startswith("D9: ") and "只下载了一半" in finding


def test_course_py_speaks_the_language_of_the_system(variables):
    variables(LANG="zh_CN.UTF-8", PYTHONIOENCODING="utf-8")
    shown = subprocess.run([sys.executable, ROOT / "course.py", "--help"], capture_output=True, encoding="utf-8")
    assert "启动课程" in shown.stdout and "--wheels PLACE" in shown.stdout
    shown = subprocess.run([sys.executable, ROOT / "course.py", "--all"], capture_output=True, encoding="utf-8")
    assert "-k 和 --all 要配合 test" in shown.stderr


def test_the_teachers_page_speaks_the_language_of_its_server(chinese):
    from qwen_helpers.labs.gateway import teachers_page

    assert '<html lang="zh">' in teachers_page() and "暂停全班" in teachers_page()
    assert Path(translate.JINJA[0]).read_text("utf-8").count("{{") > 30


@pytest.mark.parametrize("page", ["teach_page", "teach_student"])
@pytest.mark.parametrize("wheels, paddle, tiny", [(True, True, True), (True, False, False), (False, True, False)])
def test_the_pages_of_the_pack_tell_both_languages_the_same_to_type(tmp_path, page, wheels, paddle, tiny):
    facts = {"wheels": wheels, "paddle": paddle, "tiny": tiny, "python": "3.11", "system": "linux-x86_64", "pause": 10}
    facts |= {"megabytes": "900", "model": "qwen", "models": ["`qwen`"], "plan": "| plan |", "lessons": "| 1 |"}
    typed = {}
    for spoken in ("en", "zh"):
        write_page(page, facts, tmp_path / spoken, spoken)
        text = (tmp_path / spoken).read_text(encoding="utf-8")
        fences, sections = re.findall(r"(?s)```\n.*?```", text), len(re.findall(r"(?m)^#|^\|", text))
        typed[spoken] = (fences, sections, set(re.findall(r"`[^`\n]+`", re.sub(r"(?s)```.*?```", "", text))))
    assert typed["en"] == typed["zh"]
