"""The conda environment and the lock name the same versions, and the lock names no address."""

import re
import tomllib
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
LOCK = (REPOSITORY / "requirements.lock").read_text()


def locked_versions():
    """Versions for Python 3.11, the first that a package has where it has several."""
    found = re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE)
    return dict(reversed(found))


def test_the_conda_environment_has_the_versions_of_the_lock():
    environment = yaml.safe_load((REPOSITORY / "envs" / "environment.yaml").read_text())
    pinned = dict(entry.split("==") for entry in environment["dependencies"][-1]["pip"])
    locked = locked_versions()
    assert {name: locked[name] for name in pinned} == pinned


def test_the_conda_environment_has_every_dependency_of_the_package():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[=<>]", requirement)[0] for requirement in project["dependencies"]}
    environment = yaml.safe_load((REPOSITORY / "envs" / "environment.yaml").read_text())
    assert {entry.split("==")[0] for entry in environment["dependencies"][-1]["pip"]} == needed


def test_the_lock_has_hashes_and_no_addresses():
    assert "--hash=sha256:" in LOCK
    assert "://" not in LOCK
