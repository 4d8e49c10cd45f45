"""The teacher's pack: what is in it, what is not, and that nothing half-done or foreign is mistaken for one.

tests/test_lessons.py executes every student's notebook of a pack; tests/test_room.py sets a class up from one.
"""

import json
import re
import shutil
import subprocess
import sys
import zipfile

import nbformat
import pytest
from lessons import LESSONS, ROOT, read, tags
from test_structure import check_links, markdown

from qwen_helpers.folder_check import ModelFolderError
from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.tools import teach
from qwen_helpers.tools.teach import MARK, PackError, time_plan, write_pack


def quiet(text):
    pass


def make(out, wheels=False, **more):
    return write_pack(out, wheels=wheels, say=quiet, **more)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack without wheels, which the tests only read."""
    return make(tmp_path_factory.mktemp("teach") / "my pack")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A course of one lesson, of which a pack is made at once; returns an empty folder for packs."""
    root = tmp_path / "course"
    root.mkdir()
    for name in (*teach.FILES, *teach.MORE):
        (root / name).mkdir(parents=True) if "." not in name and name != "LICENSE" else (root / name).write_text(name)
    shutil.copy(LESSONS[0], root / "notebooks")
    monkeypatch.setattr(teach, "course_root", lambda: root)
    (tmp_path / "packs").mkdir()
    return tmp_path / "packs"


def files(folder):
    """{path below FOLDER: content}."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_student_notebooks_differ_in_solutions_and_outputs_only(pack):
    for path in LESSONS:
        notebook, whole = read(pack / "students/course/notebooks" / path.name), read(path)
        nbformat.validate(notebook)
        assert notebook.metadata == whole.metadata
        kept = [cell for cell in whole.cells if "solution" not in tags(cell)]
        assert len(kept) == len(whole.cells) - len([cell for cell in whole.cells if "solution" in tags(cell)])
        for cell, original in zip(notebook.cells, kept, strict=True):
            assert (cell.cell_type, tags(cell), cell.id) == (original.cell_type, tags(original), original.id)
            if cell.cell_type == "code":
                assert cell.outputs == [] and cell.execution_count is None and cell.source == original.source
        changed = [a.source for a, b in zip(notebook.cells, kept, strict=True) if a.source != b.source]
        assert len(changed) == 1 and "Your teacher has the solutions." in changed[0], path.name
        assert "folded" not in changed[0] and "three dots to open" not in json.dumps(notebook)


def test_links_and_pictures_of_the_student_notebooks_resolve(pack):
    for path in (pack / "students/course/notebooks").rglob("*.ipynb"):
        check_links(path, markdown(read(path)))
    for page in (pack / "students/course").glob("*.md"):
        check_links(page, page.read_text(encoding="utf-8"))


def test_the_rest_of_both_courses_is_the_course(pack):
    students, solutions = files(pack / "students/course"), files(pack / "solutions")
    del students["README.md"], students["README.zh-CN.md"]  # the students' own
    for name, content in {**students, **solutions}.items():
        if name.startswith("notebooks/") and name.endswith(".ipynb"):
            assert solutions[name] == (ROOT / name).read_bytes()
        else:
            assert content == (ROOT / name).read_bytes(), name
    teachers = {name for name in solutions if name.startswith("tests/")} | {
        "README.md",
        "README.zh-CN.md",
        "CONTRIBUTING.md",
    }
    assert set(solutions) - teachers == set(students)
    assert not [name for name in solutions if "__pycache__" in name or name.split("/")[0].startswith(".")]
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if kept.returncode == 0:  # nothing of the repository is forgotten
        missing = set(kept.stdout.split()) - set(solutions)
        assert all(name.startswith(".") or name == "notebooks/zh/TERMINOLOGY.md" for name in missing), missing


def test_what_the_class_gets(pack):
    students = pack / "students"
    assert {path.name for path in students.iterdir()} == {"course", "course.zip", "models"}
    assert files(students / "models/tiny-chat") == files(TINY_CHAT)
    with zipfile.ZipFile(students / "course.zip") as archive:
        zipped = {name.removeprefix("course/"): archive.read(name) for name in archive.namelist() if name[-1] != "/"}
    assert zipped == files(students / "course")
    assert not re.search(rb'"solution"', b"".join(c for n, c in zipped.items() if n.endswith(".ipynb")))


def test_the_page_is_filled_in(pack):
    page = (pack / "README.md").read_text(encoding="utf-8")
    assert "{" not in page and "\n\n\n" not in page
    for path in LESSONS:
        title = re.match(r"# (.+)", read(path).cells[0].source)[1]
        assert f"| {title} | " in page
    for folder in re.findall(r"`((?:students|solutions)[\w/.-]*)`", page):
        assert (pack / folder).exists(), folder


def test_the_students_readme_speaks_of_what_students_have(pack):
    course = pack / "students/course"
    readme = (course / "README.md").read_text(encoding="utf-8")
    assert "{" not in readme and "\n\n\n" not in readme
    assert not re.search(r"solution|folded|course\.py (test|teach)|teacher's pack|CONTRIBUTING", readme)
    for path in LESSONS:
        cell = read(path).cells[0].source
        number, title = re.match(r"# Lesson (\d+): (.+)", cell).groups()
        minutes = re.search(r"\*\*Time:\*\* (\d+) minutes", cell)[1]
        assert f"| {number} | [{title}](notebooks/{path.name}) | {minutes} |" in readme
    shown = subprocess.run([sys.executable, ROOT / "course.py", "--help"], capture_output=True, text=True).stdout
    assert set(re.findall(r"^\| `(--[\w-]+)", readme, re.MULTILINE)) <= set(re.findall(r"--[\w-]+", shown))


def test_the_chinese_edition_of_the_students_course(pack):
    course = pack / "students/course"
    readme = (course / "README.zh-CN.md").read_text(encoding="utf-8")
    assert not re.search(r"答案|course\.py (test|teach)|教师包|CONTRIBUTING", readme) and "{" not in readme
    for path in LESSONS:
        notebook = read(course / "notebooks/zh" / path.name)
        assert not [cell for cell in notebook.cells if "solution" in tags(cell)]
        number, title = re.match(r"# 第 (\d+) 课：(.+)", notebook.cells[0].source).groups()
        assert f"| {number} | [{title}](notebooks/zh/{path.name}) | " in readme
        assert "折叠在每道练习" not in json.dumps(notebook, ensure_ascii=False)


def commands(page):
    """The lines of a page that start course.py, as their words after it."""
    found = re.findall(r"^(?:\| .*`)?py(?:thon)?(?:3| -3)?[.\d]* course\.py ?([^`\n]*)", page, re.MULTILINE)
    return [line.split() for line in found]


@pytest.mark.parametrize("paddle", [True, False])
@pytest.mark.parametrize("wheels", [True, False])
def test_the_pages_match_what_was_packed(small, monkeypatch, wheels, paddle):
    """Each command has --wheels where there are wheels, --no-paddle where lesson 7's packages are missing."""

    def collect(root, folder, sets, say):
        folder.mkdir()
        (folder / "torch.whl").write_bytes(bytes(7_000_000))

    monkeypatch.setattr(teach, "collect_wheels", collect)
    shutil.copy(LESSONS[6], teach.course_root() / "notebooks")
    pack = make(small / "pack", wheels=wheels, paddle=paddle)
    page, readme = ((pack / name).read_text(encoding="utf-8") for name in ("README.md", "students/course/README.md"))
    teachers, own = commands(page), commands(readme)
    assert len(teachers) == 5 and len(own) == 2
    for words in teachers + own:
        assert ("--wheels" in words) == (wheels and "--class" not in words), words
        assert ("--no-paddle" in words) != paddle, words
    places = {words[words.index("--wheels") + 1] for words in teachers + own if wheels and "--wheels" in words}
    assert places == ({"../wheels", "..\\wheels", "http://ADDRESS:8080/wheels/"} if wheels else set())
    for text in (page, readme):
        assert ("wheels" in text.replace("--no-wheels", "")) == wheels
        assert (f"Python 3.{sys.version_info.minor}" in text and "3.10, 3.11 or 3.12" not in text) == wheels
    assert ("| `students/wheels` |" in page) == ("7 MB" in page) == ("without internet\n" in page[:50]) == wheels
    assert ("Lesson 7:" in page) == (".venv-paddle" in readme) == ("07_paddlenlp" in readme) == paddle
    assert ("switched off" in page) == ("needs no line to the outside" in page) == wheels
    assert ("`--no-paddle` leaves out" in page) == ("| `--no-paddle` |" in readme) == paddle


def test_no_step_has_the_class_carry_the_teachers_environment(pack):
    """`course.py` makes .venv beside itself: set up inside the pack it would be copied to, and served to, everyone."""
    page = (pack / "README.md").read_text(encoding="utf-8")
    assert "typed in the folder `students/course`" not in page and "Do not set the course up inside this pack" in page
    with zipfile.ZipFile(pack / "students/course.zip") as archive:
        assert "student's copy" in archive.read("course/README.md").decode()


REHEARSED = {  # what is tried the day before: words of its line
    "A student's computer": "Copy `students` to it",
    "The way to your computer": "http://ADDRESS:8080/course.zip",
    "The firewall": "8000 for the server",
    "The Wi-Fi": "客户端隔离",
    "The keys": "slip for each student",
    "The server": "ask it from the student's computer",
    "The teacher's page": "http://ADDRESS:8000/teacher",
    "The results": "`--class`",
    "The computers": "stays awake",
}


def test_the_rehearsal(pack):
    page = (pack / "README.md").read_text(encoding="utf-8")
    rehearsal = page.partition("## 1. ")[2].partition("## 2. ")[0]
    lines = dict(re.findall(r"^- \[ \] \*\*(.+?)\.?\*\*(.+)", rehearsal, re.MULTILINE))
    assert list(lines) == list(REHEARSED)
    for name, words in REHEARSED.items():
        assert words in lines[name]


def test_the_commands_for_a_class_keep_keys_and_results_out_of_the_pack(pack):
    """A new pack replaces the folder, and everyone may read `students`."""
    page = (pack / "README.md").read_text(encoding="utf-8")
    assert "python -m qwen_helpers keys ../NAMES.txt ../class.csv\n" in page
    serve = "serve students/models/tiny-chat --keys ../class.csv --results ../class.sqlite --host 0.0.0.0\n"
    assert f"python -m qwen_helpers {serve}" in page
    assert "course.py --class http://ADDRESS:8000 --key KEY\n" in page
    assert not re.search(r"(?<!\.\./)(class\.(csv|sqlite)|NAMES\.txt)(?!` beside)", page)


def lesson(minutes):
    cell = nbformat.v4.new_markdown_cell(f"# Lesson {minutes}\n\n**Time:** {minutes} minutes. **Download:**")
    return nbformat.v4.new_notebook(cells=[cell])


def test_the_time_plan():
    plan = time_plan({name: lesson(minutes) for name, minutes in {"1": 15, "2": 85, "3": 30}.items()})
    assert plan.splitlines()[2:] == [
        "| **Day 1, morning** | | |",
        "| Lesson 15 | 09:00 to 09:15 | 09:15 to 09:30 |",
        "| Lesson 85 | 09:40 to 11:05 | 11:05 to 12:30 |",  # ends when the morning does
        "| **Day 1, afternoon** | | |",
        "| Lesson 30 | 13:30 to 14:00 | 14:00 to 14:30 |",
    ]


def test_the_chosen_model_is_packed_under_its_name(small, tmp_path, monkeypatch, qwen2_folder):
    model = shutil.copytree(qwen2_folder, tmp_path / "cache/Qwen--Qwen9-0.1B/snapshots/master")
    (model / "config.json.incomplete").write_text("{")  # left by a download that was repeated
    monkeypatch.setenv("QWEN_MODEL", str(model))
    pack = make(small / "pack")
    assert files(pack / "students/models/Qwen9-0.1B") == files(qwen2_folder)
    page = (pack / "README.md").read_text(encoding="utf-8")
    assert "hub students/models/Qwen9-0.1B --host" in page and "serve students/models/Qwen9-0.1B --keys" in page
    assert "`tiny-thinking`, `Qwen9-0.1B`" in page and "make the pack again.\n" not in page


@pytest.mark.parametrize("name", ["tiny", "tiny-base", "tiny-thinking"])
def test_a_tiny_model_needs_no_way_to_the_students(small, monkeypatch, name):
    monkeypatch.setenv("QWEN_MODEL", name)
    pack = make(small / "pack")
    page = (pack / "README.md").read_text(encoding="utf-8")
    models = sorted(path.name for path in (pack / "students/models").iterdir())
    assert models == ["tiny-base", "tiny-chat", "tiny-thinking"]
    assert "make the pack again.\n" in page and "choose one way" not in page and "qwen_helpers hub" not in page
    assert "8765" not in page
    assert f"serve students/models/{'tiny-chat' if name == 'tiny' else name} --keys" in page


def test_twice_gives_the_same_and_removes_what_is_outdated(small):
    out = make(small / "pack")
    first = files(out)
    (out / "students/outdated.txt").write_text("old")
    (small / "pack.unfinished").mkdir()  # what a kill may leave
    (small / "pack.unfinished" / MARK).write_text("{}")
    again = files(make(out))
    for both in (first, again):
        del both["students/course.zip"]  # it holds the time
    assert again == first and [path.name for path in small.iterdir()] == ["pack"]


@pytest.mark.parametrize("name", ["pack", "pack.unfinished", "pack.old"])
def test_a_folder_of_someone_else_is_left_alone(small, name):
    (small / name).mkdir()
    (small / name / "mine.txt").write_text("precious")
    with pytest.raises(PackError, match=f"{name} is there and is no teacher's pack"):
        make(small / "pack")
    assert files(small) == {f"{name}/mine.txt": b"precious"}


def test_a_file_an_empty_folder_and_the_course_itself(small):
    (small / "file").write_text("precious")
    with pytest.raises(PackError, match="no teacher's pack"):
        make(small / "file")
    with pytest.raises(PackError, match="choose a folder outside of it"):
        make(teach.course_root() / "notebooks/pack")
    (small / "empty").mkdir()
    assert (make(small / "empty") / "README.md").exists()


@pytest.mark.parametrize("older", [False, True])
def test_a_stop_in_the_middle_leaves_no_pack_or_the_older_one(small, monkeypatch, older):
    before = files(make(small / "pack")) if older else {}
    with monkeypatch.context() as patch:
        patch.setattr(teach, "time_plan", lambda lessons: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            make(small / "pack")
    assert (files(small / "pack") if older else {}) == before
    assert (small / "pack").exists() == older
    assert (make(small / "pack") / "README.md").exists()


def test_a_stop_while_the_older_one_is_deleted_does_no_harm(small, monkeypatch):
    make(small / "pack")
    with monkeypatch.context() as patch:
        patch.setattr(teach.shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            make(small / "pack")
    assert (small / "pack/README.md").exists() and (small / "pack.old").exists()
    make(small / "pack")
    assert [path.name for path in small.iterdir()] == ["pack"]


def test_a_students_copy_makes_no_pack(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(teach, "course_root", lambda: pack / "students/course")
    with pytest.raises(PackError, match="students' copy"):
        make(tmp_path / "pack")


def test_a_model_that_is_gone_stops_it_before_anything_is_written(small, monkeypatch):
    monkeypatch.setenv("QWEN_MODEL", str(small / "gone"))
    with pytest.raises(ModelFolderError, match="QWEN_MODEL is set"):
        make(small / "pack")
    assert list(small.iterdir()) == []


def test_without_a_connection_there_are_no_wheels_and_no_pack(small, monkeypatch, capfd):
    """pip itself, with an empty folder for an index; tests/test_room.py has the case that works."""
    for name in ("pyproject.toml", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, teach.course_root())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", small.as_uri())
    with pytest.raises(PackError, match="pip could not collect the packages: its last lines say why. Then run again"):
        write_pack(small / "pack", paddle=False, say=quiet)
    assert "No matching distribution found" in capfd.readouterr().err
    assert [path.name for path in small.iterdir()] == ["pack.unfinished"]


@pytest.mark.parametrize("found_at", [1, 2, None])
def test_the_cpu_build_is_looked_for_where_course_py_looks(tmp_path, monkeypatch, found_at):
    """First where pip's settings lead, then at PyTorch's own index; only then the default build is taken."""
    commands, said = [], []

    def run(command, **_):
        commands.append(command)
        missing = command[-1].endswith("+cpu") or "--index-url" in command
        return subprocess.CompletedProcess(command, int(missing and len(commands) != found_at))

    monkeypatch.setattr(teach.subprocess, "run", run)
    monkeypatch.setattr(teach, "version", lambda name: "2.13.0+cpu")
    teach.collect_wheels(ROOT, tmp_path, teach.SETS[:1], said.append)
    assert "--index-url" not in commands[0]
    assert ("--index-url" in commands[1]) == (found_at != 1)
    assert any("collecting the default one" in line for line in said) == (found_at is None)


def test_the_command_says_what_is_ready(small, capsys):
    teach.main([str(small / "pack"), "--no-wheels"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"Ready: .*pack, \d+ MB\. How to use it in the room: .*README\.md$", last)


def test_a_refusal_is_one_line(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    command = [sys.executable, "-m", "qwen_helpers", "teach", "--no-wheels", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "no teacher's pack" in done.stderr
