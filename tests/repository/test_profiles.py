"""The profile for clusters says of every rule what the rule itself says, with the reason beside it."""

import re

import yaml
from running import REPOSITORY

RULES = "".join(path.read_text() for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")))
PROFILE = REPOSITORY / "profiles" / "slurm" / "config.yaml"


def asked():
    """mem_mb and runtime of each rule that runs on a node; not those that follow from the job."""
    found = {}
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", RULES, re.MULTILINE | re.DOTALL):
        found[name] = {key: int(value) for key, value in re.findall(r"^ +(mem_mb|runtime)=(\d+),", body, re.MULTILINE)}
    return {name: amounts for name, amounts in found.items() if amounts}


def test_the_profile_asks_for_what_the_rules_ask_for():
    profile = yaml.safe_load(PROFILE.read_text())["set-resources"]
    amounts = {name: {key: each[key] for key in ("mem_mb", "runtime") if key in each} for name, each in profile.items()}
    assert {name for name, each in amounts.items() if len(each) == 1} == {"train", "refit", "predict", "seams"}
    assert amounts == asked()


def test_every_step_in_a_network_gets_a_gpu():
    profile = yaml.safe_load(PROFILE.read_text())["set-resources"]
    in_rules = set(re.findall(r"^rule (\w+):\n(?:(?!^rule ).*\n)*?^ {8}gpu=", RULES, re.MULTILINE))
    assert {name for name, each in profile.items() if each.get("gpu")} == in_rules


def test_every_amount_of_memory_has_its_reason_beside_it():
    lines = PROFILE.read_text().splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith("    mem_mb:")]
    assert places
    assert all(lines[number - 1].startswith("    # ") for number in places)
