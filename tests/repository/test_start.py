"""What a verb loads before its work begins: each of the many short steps pays for it."""

import subprocess
import sys

import pytest

from tilewright.cli import VERBS

WITH_NETWORK = ("plan", "train", "refit", "export", "predict", "seams", "pack")
HEAVY = "albumentations boto3 lightning matplotlib onnxruntime pandas pyarrow scipy.sparse skimage snakemake timm torch"


def loaded(*verbs):
    """The heavy packages that the modules of some verbs load."""
    modules = [VERBS[verb][0].split(":")[0] for verb in verbs]
    code = f"import sys, {', '.join(modules)}; print(*(name for name in {HEAVY.split()} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_verbs_without_a_network_load_what_they_need():
    light = set(VERBS) - {*WITH_NETWORK, "audit", "report"}
    assert len(light) > 10
    assert loaded(*light) <= {"boto3", "pyarrow"}, (
        "tilewright.cli keeps rasterio from loading boto3, in its own process"
    )
    assert loaded("audit", "report") <= {"boto3", "matplotlib", "pandas", "pyarrow"}
    assert loaded("check", "sheet") <= {"boto3"}


@pytest.mark.parametrize("verb", ["rasterize", "ensemble"])
def test_the_program_does_not_load_boto3(verb):
    code = f"""
import runpy, sys
sys.argv = ["tilewright", {verb!r}, "--help"]
try:
    runpy.run_module("tilewright.cli", run_name="__main__")
finally:
    assert not sys.modules["boto3"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert verb in done.stdout


def test_a_verb_that_does_not_exist_is_told_without_loading_the_others():
    code = """
import sys
from tilewright.cli import main
try:
    main(["rasterise"])
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith('tilewright: there is no verb "rasterise".\n  Did you mean "rasterize"?')
