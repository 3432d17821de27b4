"""What the pages name is there: commands, options, keys of the config, messages; and no measurement stands twice."""

import ast
import re
import shlex
from collections import defaultdict
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
import snakemake
import yaml
from pydantic import BaseModel
from snakemake.cli import get_argument_parser

from tilewright.cli import VERBS, app
from tilewright.project.config import Config

REPOSITORY = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8")
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
}
GENERATED = {"docs/reference-systems.md", "docs/speed.md", "docs/quality.md", "docs/encoders.md"}
MESSAGES = PAGES["docs/troubleshooting.md"]
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def blocks(text, *languages):
    """The code blocks of a page."""
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def inline(text):
    """What stands in backquotes outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))


def commands():
    """Commands of code blocks with their pages, a continued line being one, what follows && another one."""
    for page, text in PAGES.items():
        for block in blocks(text, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                yield from ((page, part.strip()) for part in re.split(r" #|$", line)[0].split("&&") if part.strip())


def in_words():
    """Commands in the text, which may be cut short: ``tilewright sheet``, ``tilewright apply --help``."""
    for page, text in PAGES.items():
        for code in inline(text):
            if re.match(r"tilewright [a-z]", code) and not re.search(r"\.\.\.", code):
                yield page, code


def options_of(verb):
    """All options of a verb."""
    return {name for argument in app[verb].assemble_argument_collection() for name in argument.names}


@pytest.mark.parametrize(("page", "command"), dict.fromkeys(commands()), ids=str)
def test_a_command_of_a_code_block_is_one_that_its_program_takes(page, command):
    program, *arguments = shlex.split(command.replace("...", "x"))
    if program == "tilewright":
        function, _, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        assert function.__module__.startswith("tilewright.")
    elif program == "snakemake":
        get_argument_parser().parse_args(arguments)
    elif program == "make":
        assert {part for part in arguments if "=" not in part} <= TARGETS
    elif program == "python":
        assert (REPOSITORY / arguments[0]).exists()
    else:
        assert program in {"source", "pip", "conda", "hf", "bioimageio", "OMP_NUM_THREADS=1"}, command


@pytest.mark.parametrize(("page", "command"), dict.fromkeys(in_words()), ids=str)
def test_a_command_in_the_text_names_a_verb_and_its_options(page, command):
    _, verb, *arguments = shlex.split(command)
    assert verb in VERBS
    assert {part.split("=")[0] for part in arguments if part.startswith("--")} <= options_of(verb) | {"--help"}


PROGRAMS = "".join(
    path.read_text() for folder in ("benchmarks", "quality", "tests/gpu") for path in (REPOSITORY / folder).glob("*.py")
)
"""Of this repository beside the command line."""


def test_an_option_in_the_text_is_one_of_some_program():
    known = {option for verb in VERBS for option in options_of(verb)}
    known |= {option for action in get_argument_parser()._actions for option in action.option_strings}
    known |= set(re.findall(r"\"(--[a-z-]+)\"", PROGRAMS))
    named = {
        (page, option)
        for page, text in PAGES.items()
        for code in inline(text)
        for option in OPTION.findall(code)
        if code.split()[0] not in {"scancel", "tensorboard"} and "tf2onnx" not in code
    }
    assert len(named) > 20
    assert not {(page, option) for page, option in named if option not in known}


@cache
def sections():
    """Fields of each section of the config, by its class."""
    found, todo = {}, [Config]
    while todo:
        model = todo.pop()
        if model in found:
            continue
        found[model] = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        todo += [kind for one in found[model].values() for kind in kinds(one) if is_section(kind)]
    return found


def kinds(annotation):
    """A type and all types in it."""
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from kinds(part)


def is_section(kind):
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def leads(models, keys):
    """Whether one key after the other leads from one of the sections to a value; NAME stands for any name."""
    if not keys or not models:
        return not keys
    for model in models:
        annotation = sections()[model].get(keys[0])
        if annotation is not None:
            below = [kind for kind in kinds(annotation) if is_section(kind)]
            named = any(getattr(kind, "__origin__", None) is dict for kind in kinds(annotation))
            rest = keys[1:]
            if not below and (named or not rest):
                return True
            if below and (leads(below, rest) or (named and rest and leads(below, rest[1:]))):
                return True
    return False


FILES = {"csv", "h5", "html", "jpg", "json", "md", "npy", "parquet", "png", "py", "safetensors", "svs", "tif", "yaml"}


def dotted():
    """Keys in backquotes with a dot, of the config by their first part."""
    first = {key for fields in sections().values() for key in fields}
    for page, text in PAGES.items():
        for code in inline(text) if page not in {"docs/architecture.md", *GENERATED} else ():
            name = code.split(":")[0].strip()
            parts = name.split(".")
            if re.fullmatch(r"[a-z_]+(\.[A-Za-z_]+)+", name) and parts[0] in first and parts[-1] not in FILES:
                yield page, name


@pytest.mark.parametrize(("page", "key"), dict.fromkeys(dotted()), ids=str)
def test_a_key_in_the_text_is_one_of_the_config(page, key):
    assert leads(list(sections()), key.split("."))


def unknown(models, content, path=""):
    """Keys of a piece of a config that none of the sections has."""
    if not isinstance(content, dict) or not models:
        return
    for key, value in content.items():
        annotations = [sections()[model][key] for model in models if key in sections()[model]]
        if not annotations:
            yield f"{path}{key}"
        below = [kind for one in annotations for kind in kinds(one) if is_section(kind)]
        named = any(getattr(kind, "__origin__", None) is dict for one in annotations for kind in kinds(one))
        for each in value.values() if named and below and isinstance(value, dict) else [value]:
            yield from unknown(below, each, f"{path}{key}.")


@pytest.mark.parametrize(
    ("page", "block"), [(page, block) for page, text in PAGES.items() for block in blocks(text, "yaml")], ids=str
)
def test_a_config_in_a_code_block_has_keys_of_the_config(page, block):
    content = yaml.safe_load(block)
    assert isinstance(content, dict)
    whole = content.keys() <= sections()[Config].keys()
    assert not list(unknown([Config] if whole else list(sections()), content))


@cache
def said(package):
    """All texts of a package, what is put into them as a mark of its own; texts of docstrings too."""
    return [
        "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
        if isinstance(node, ast.JoinedStr)
        else node.value
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]


def messages():
    """What the page of messages quotes, and who says it."""
    ours, theirs = MESSAGES.split("## Said by Snakemake")
    for text, package in ((ours, REPOSITORY / "src" / "tilewright"), (theirs, Path(snakemake.__file__).parent)):
        for row in re.findall(r"^\| (`.*?) \| ", text, re.MULTILINE):
            yield from ((quoted, package) for quoted in re.findall(r"`(.+?)`", row))


OF_PYTHON = {"FileNotFoundError", "IsADirectoryError"}
OF_CONFIGS = {"--configfile X"}


@pytest.mark.parametrize(("quoted", "package"), list(messages()), ids=str)
def test_a_message_of_the_page_is_one_that_is_said(quoted, package):
    if quoted in OF_PYTHON | OF_CONFIGS:
        return
    pattern = re.compile(".*?".join(re.escape(part.strip('"')) for part in quoted.split("...")), re.DOTALL)
    assert any(pattern.search(text) for text in said(package))


def test_the_page_of_messages_holds_enough_of_each_to_be_found():
    for quoted, _ in messages():
        assert len(max(quoted.split("..."), key=len)) >= 8, quoted


def figures():
    """Figures with three decimals or more, which only measurements give, of each paragraph or row of a table."""
    for page, text in PAGES.items():
        if page != "docs/reference-systems.md":
            for piece in re.split(r"\n\n|\n(?=\|)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
                yield page, set(re.findall(r"(?<![\d.])\d+\.\d{3,}(?![\d.])", piece))


def test_no_measurement_stands_on_two_pages():
    """One figure in common may be chance, two in one row or paragraph are not."""
    where = defaultdict(set)
    for page, found in figures():
        for pair in combinations(sorted(found), 2):
            where[pair].add(page)
    assert len(where) > 100
    assert not {pair: pages for pair, pages in where.items() if len(pages) > 1}
