"""Versions live once: ranges in pyproject.toml, tested ones in constraints*.txt, and everybody installs the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import course

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENVIRONMENTS = [course.MAIN, course.PADDLE]
PINS = {
    env: [Requirement(line) for line in (ROOT / env.constraints).read_text().splitlines() if not line.startswith("#")]
    for env in ENVIRONMENTS
}
each_environment = pytest.mark.parametrize("env", ENVIRONMENTS, ids=lambda env: env.folder.name)
SYSTEMS = {
    "Linux": {"sys_platform": "linux", "os_name": "posix", "platform_machine": "x86_64"},
    "Linux on Arm": {"sys_platform": "linux", "os_name": "posix", "platform_machine": "aarch64"},
    "Windows": {"sys_platform": "win32", "os_name": "nt", "platform_machine": "AMD64"},
    "macOS": {"sys_platform": "darwin", "os_name": "posix", "platform_machine": "arm64"},
}


def requirements(extra):
    """All requirements of an extra, those of the extras that it takes in included."""
    for text in EXTRAS[extra]:
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) == PROJECT["name"]:
            for inner in requirement.extras:
                yield from requirements(inner)
        else:
            yield requirement


def wanted(env, *more):
    """All requirements of an environment's extras, and of those in `more`."""
    extras = [extra for stage in env.extras for extra in stage.split(",")] + list(more)
    return [requirement for extra in extras for requirement in requirements(extra)]


def environment_of(python, system):
    """What markers are evaluated with."""
    environment = dict(SYSTEMS[system], python_version=python, python_full_version=python + ".4")
    return environment | {"implementation_name": "cpython", "platform_python_implementation": "CPython", "extra": ""}


def pins_for(env, python, system):
    """The pins that count for one Python on one system: {name: version}; two for one package are an error."""
    environment, found = environment_of(python, system), {}
    for pin in PINS[env]:
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {python} on {system}"
            found[name] = str(pin.specifier).removeprefix("==")
    return found


@each_environment
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", [f"{major}.{minor}" for major, minor in course.PYTHONS])
def test_every_requirement_has_one_exact_pin_in_its_range(env, python, system):
    pins = pins_for(env, python, system)
    optional = ["fast", "site"] if env is course.MAIN else []  # a reader may add the one; `course.py site` the other
    for requirement in [Requirement(text) for text in PROJECT["dependencies"]] + wanted(env, *optional):
        if requirement.marker and not requirement.marker.evaluate(environment_of(python, system)):
            continue  # lesson 8's engine has no wheels for Python 3.10
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} has no pin"
        assert requirement.specifier.contains(version), f"{requirement} does not allow its pin {version}"


def test_pins_are_exact_and_name_no_place():
    for pin in PINS[course.MAIN] + PINS[course.PADDLE]:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} is not exact, or belongs to one build only"
    locks = [name for env in ENVIRONMENTS for name in (env.lock, env.constraints)]
    for name in ("pyproject.toml", "environment.yml", "course.py", *locks):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|--(extra-)?index-url[ =]\S*/|--find-links", text), (
            f"{name} names a package server"
        )


@each_environment
def test_the_lock_holds_the_same_versions_with_the_hashes_of_their_files(env):
    entries = re.findall(
        r"(?m)^([^#\s][^\\\n]*?)(?: \\)?\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)*)",
        (ROOT / env.lock).read_text(),
    )
    assert [pin for pin, _ in entries] == [
        line for line in (ROOT / env.constraints).read_text().splitlines() if not line.startswith("#")
    ]
    without = {Requirement(pin).name for pin, hashes in entries if not hashes}
    assert without == ({"torch"} if env is course.MAIN else set()), "its CPU build has other hashes"


def test_a_library_whose_private_names_are_replaced_is_held_to_its_minor_version():
    """labs/serve_process.py replaces some of ms-swift's, engines/paddle.py some of PaddleNLP's."""
    for extra, name, allowed, refused in (
        ("lab", "ms-swift", "4.6.9", "4.7.0"),
        ("paddle", "paddlenlp", "3.0.0b4", "3.0.0"),
    ):
        requirement = next(r for r in requirements(extra) if r.name == name)
        assert requirement.specifier.contains(allowed, prereleases=True) and not requirement.specifier.contains(refused)


def test_pip_and_uv_are_pinned_for_the_set_up():
    assert {"pip", "uv", "torch"} <= {pin.name for pin in PINS[course.MAIN] if pin.marker is None}
    pip = {str(pin) for env in ENVIRONMENTS for pin in PINS[env] if pin.name == "pip"}
    assert len(pip) == 1, "both environments are made by the same pip"


def test_course_py_takes_the_pythons_that_the_project_supports():
    supported = SpecifierSet(PROJECT["requires-python"])
    assert sorted(course.PYTHONS) == [(3, minor) for minor in range(6, 20) if supported.contains(f"3.{minor}")]


def test_the_first_stage_is_part_of_the_second():
    first, second = course.MAIN.extras
    assert {str(r) for r in requirements(first)} <= {str(r) for extra in second.split(",") for r in requirements(extra)}


def test_conda_users_get_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    python, pip, packages = environment["dependencies"]
    assert tuple(int(part) for part in python.removeprefix("python=").split(".")) in course.PYTHONS
    assert pip == "pip"
    assert packages == {"pip": [f"-c {course.MAIN.constraints}", f"-e .[{course.MAIN.extras[-1]}]"]}


VERSIONS = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        print(version(name))
    except PackageNotFoundError:
        print("missing")
"""


@each_environment
def test_what_is_installed_here_is_what_was_pinned(env):
    if env is course.PADDLE and not course.has_kernel():
        pytest.skip("course.py has not made .venv-paddle here; python course.py --no-lab does")
    python = sys.executable if env is course.MAIN else env.python()
    command = [python, "-c", "import sys; print(f'3.{sys.version_info.minor}')"]
    system = next(name for name, facts in SYSTEMS.items() if facts["sys_platform"] == sys.platform)
    version = subprocess.check_output(command, text=True).strip()
    pins, here = pins_for(env, version, system), environment_of(version, system)
    names = sorted({canonicalize_name(r.name) for r in wanted(env) if r.marker is None or r.marker.evaluate(here)})
    installed = subprocess.check_output([python, "-c", VERSIONS, *names], text=True).split()
    assert {name: found.split("+")[0] for name, found in zip(names, installed, strict=True)} == {
        name: pins[name] for name in names
    }


@pytest.mark.parametrize(
    "name, version, why",
    [
        ("aistudio-sdk", "0.3.0", "hub.download is gone, which PaddleNLP imports"),
        ("pyarrow", "26.0.1", "refuses the NumPy that PaddleNLP needs"),
        ("setuptools", "80.9.0", "jieba prints a warning about it"),
        ("paddlenlp", "3.0.0b0", "a wrong id for the end of an answer"),
    ],
)
def test_versions_that_break_paddlenlp_are_out_of_range(name, version, why):
    requirement = next(r for r in requirements("paddle") if r.name == name)
    assert not requirement.specifier.contains(version, prereleases=True), f"{name} {version}: {why}"
