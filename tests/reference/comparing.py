"""A table of a system against a preset: its values, and what is made of them."""

from collections.abc import Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import cache

import pytest
from reference.facts import FACTS

from tilewright.project.configfile import parse_config
from tilewright.runtime.errors import UserError

WORDS = {
    "architecture": ("Linknet", "Unet", "PlainUnet"),
    "encoder": ("efficientnet-b2", "tu-regnety_008"),
    "encoder_weights": ("random",),
    "augmentation": ("strong", "flips"),
    "optimizer": ("adam", "adamw"),
    "schedule": ("cosine", "constant"),
    "monitor": ("dice", "val_loss"),
    "crop_at": ("center", "random"),
    "blend": ("hann", "mean"),
    "tta": ("flips", "none"),
    "decoder_attention_type": (None,),
    "pixel_rule": ("center",),
    "rle_order": ("row_major", "column_major"),
    "dialect": ("row_major", "column_major"),
    "rows": ("slide", "object"),
    "aim": ("pooled",),
    "confidence": ("mean", "max"),
    "slide": ("equal",),
    "from": ("second",),
    "method": ("color",),
    "precision": ("16",),
    "layout": ("kidney", "sartorius"),
    "name": ("kidney",),
    "group": (None,),
}
"""Other words for values that are words."""


def leaves(values, above=""):
    """Values by their keys, joined by dots; a list is one value."""
    found = {}
    for key, value in values.items():
        place = f"{above}{key}"
        found |= leaves(value, f"{place}.") if isinstance(value, Mapping) else {place: value}
    return found


def problems(system, values):
    """What differs between a table and a preset's values.

    Each value of the preset is that of one key of the table; each of the table is that of the config, given or not.
    """
    expected = {key: value for line in system.lines.values() for key, value in line.values.items()}
    ours = {key: each.value for key, each in system.ours.items()}
    given, table = leaves(values), expected | ours
    found = [f"{key}: twice in the table" for key in expected.keys() & ours]
    meant = {place for key in table for place in places(key, given)}
    found += [f"{place}: not in the table" for place in given if place not in meant]
    found += _differences(given, table)
    if found:
        return found
    try:
        config = leaves(parse_config(values).model_dump(mode="json", by_alias=True)) | given
    except UserError as error:
        return [str(error)]
    missing = [key for key in table if not places(key, config)]
    return [f"{key}: not there" for key in missing] + _differences(config, table)


def _differences(values, table):
    pairs = ((place, key) for key in table for place in places(key, values))
    return [
        f"{place}: {values[place]!r}, not {table[key]!r}" for place, key in pairs if not same(values[place], table[key])
    ]


def places(key, values):
    """The places among some values that a key of a table means."""
    return [place for place in values if means(place, key)] if "*" in key else [key] if key in values else []


@cache
def means(place, key):
    """Whether a key of a table means a place; a star stands for one name."""
    if "*" not in key:
        return place == key
    return place.count(".") == key.count(".") and all(map(fnmatchcase, place.split("."), key.split(".")))


def same(found, value):
    """Equal, and no number in place of true."""
    return found == value and isinstance(found, bool) == isinstance(value, bool)


def changed(key, value):
    """Other values of the same kind, the likelier ones first."""
    name = key.split(".")[-1]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        others = (value * 2, value / 2, value + 1, value * 1.1, value + 0.1)
        return [other for other in others if other != value]
    if isinstance(value, list):
        last = f"{value[-1]}x" if isinstance(value[-1], str) else value[-1] + 0.1
        return [[*value[:-1], last], [*value[:-1], last + 0.9] if value[-1:] == [0] else value[1:]]
    return [word for word in (*WORDS.get(name, ()), f"{value}x", "#000000") if word != value]


def mutants(values):
    """The values with one of them changed, for each of them, with its key."""
    for key, value in leaves(values).items():
        for other in changed(key, value)[:1]:
            yield key, with_value(values, key, other)


def with_value(values, key, value):
    """A copy of nested values in which one is another."""
    copy = deepcopy(values)
    inner, names = copy, key.split(".")
    for name in names[:-1]:
        inner = inner[name]
    inner[names[-1]] = value
    return copy


def without(values, key):
    """A copy of nested values that lacks one."""
    copy = deepcopy(values)
    inner, names = copy, key.split(".")
    for name in names[:-1]:
        inner = inner[name]
    del inner[names[-1]]
    return copy


def is_valid(values):
    """Whether they are a config."""
    try:
        parse_config(values)
    except UserError:
        return False
    return True


def made(config, fact, asked):
    """What a preset makes."""
    return FACTS[fact](config, asked)


def alike(expected, found):
    """Whether what was found has all that is expected, to six digits."""
    if isinstance(expected, Mapping):
        return isinstance(found, Mapping) and all(
            any(same(key, other) and alike(value, found[other]) for other in found) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(alike, expected, found))
    if isinstance(expected, bool) or expected is None or isinstance(expected, str):
        return expected == found
    return not isinstance(found, bool | str | None) and found == pytest.approx(expected, rel=1e-4, abs=1e-9)
