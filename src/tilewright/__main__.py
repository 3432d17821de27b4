"""The program ``tilewright``, also as ``python -m tilewright``."""

import sys

from tilewright.cli import main


def run() -> None:
    """Run the command line in a process of its own."""
    # rasterio would load it, for longer than most steps take to start; Snakemake fetches what lies on object storage
    sys.modules["boto3"] = None  # type: ignore[assignment]
    main()


if __name__ == "__main__":
    run()
