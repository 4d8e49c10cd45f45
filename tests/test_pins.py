"""Versions live once: ranges in pyproject.toml, the tested set in constraints.txt, and everybody installs the same."""

import importlib.metadata
import re
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
PINS = [Requirement(line) for line in (ROOT / course.CONSTRAINTS).read_text().splitlines() if not line.startswith("#")]
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


def environment_of(python, system):
    """What markers are evaluated with."""
    environment = dict(SYSTEMS[system], python_version=python, python_full_version=python + ".4")
    return environment | {"implementation_name": "cpython", "platform_python_implementation": "CPython", "extra": ""}


def pins_for(python, system):
    """The pins that count for one Python on one system: {name: version}; two for one package are an error."""
    environment, found = environment_of(python, system), {}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {python} on {system}"
            found[name] = str(pin.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", [f"{major}.{minor}" for major, minor in course.PYTHONS])
def test_every_requirement_has_one_exact_pin_in_its_range(python, system):
    pins = pins_for(python, system)
    wanted = (
        [Requirement(text) for text in PROJECT["dependencies"]] + list(requirements("lab")) + list(requirements("test"))
    ) + list(requirements("fast"))
    for requirement in wanted:
        if requirement.marker and not requirement.marker.evaluate(environment_of(python, system)):
            continue  # lesson 7's engine has no wheels for Python 3.10
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} has no pin"
        assert requirement.specifier.contains(version), f"{requirement} does not allow its pin {version}"


def test_pins_are_exact_and_name_no_place():
    for pin in PINS:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} is not exact, or belongs to one build only"
    for name in ("pyproject.toml", "constraints.txt", "environment.yml", "course.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|--(extra-)?index-url[ =]\S*/|--find-links", text), (
            f"{name} names a package server"
        )


def test_pip_and_uv_are_pinned_for_the_set_up():
    assert {"pip", "uv", "torch"} <= {pin.name for pin in PINS if pin.marker is None}


def test_course_py_takes_the_pythons_that_the_project_supports():
    supported = SpecifierSet(PROJECT["requires-python"])
    assert sorted(course.PYTHONS) == [(3, minor) for minor in range(6, 20) if supported.contains(f"3.{minor}")]


def test_the_first_stage_is_part_of_the_second():
    first, second = course.EXTRAS
    assert {str(r) for r in requirements(first)} <= {str(r) for extra in second.split(",") for r in requirements(extra)}


def test_conda_users_get_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    python, pip, packages = environment["dependencies"]
    assert tuple(int(part) for part in python.removeprefix("python=").split(".")) in course.PYTHONS
    assert pip == "pip"
    assert packages == {"pip": [f"-c {course.CONSTRAINTS}", f"-e .[{course.EXTRAS[-1]}]"]}


def test_what_is_installed_here_is_what_was_pinned():
    system = next(name for name, facts in SYSTEMS.items() if facts["sys_platform"] == sys.platform)
    python = f"3.{sys.version_info.minor}"
    pins = pins_for(python, system)
    for requirement in list(requirements("lab")) + list(requirements("test")):
        if requirement.marker and not requirement.marker.evaluate(environment_of(python, system)):
            continue
        installed = importlib.metadata.version(requirement.name).split("+")[0]
        assert installed == pins[canonicalize_name(requirement.name)], requirement.name
