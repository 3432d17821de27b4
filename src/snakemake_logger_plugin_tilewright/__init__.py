"""The logger that ``profiles/`` names: Snakemake finds it by the name of this package."""

from tilewright.console.handler import LogHandler

__all__ = ["LogHandler"]
