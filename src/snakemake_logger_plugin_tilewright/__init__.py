"""What a run of the graph tells while it runs: steps done and running, failures, what jobs ask for.

The logger that ``profiles/`` name; Snakemake finds it by the name of this package.
"""

from snakemake_logger_plugin_tilewright.handler import LogHandler

__all__ = ["LogHandler"]
