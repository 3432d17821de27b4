"""Packages that are installed only where somebody asks for them."""

import importlib.util
from collections.abc import Sequence

from tilewright.runtime.errors import Problem, UserError

ONNX = ("onnx", "onnxruntime")
"""What runs ONNX."""
WRITING_ONNX = (*ONNX, "onnxscript")
"""What writes it, and runs it to compare."""
VIEWING = ("starlette", "uvicorn", "xstatic")
"""What serves pages, and shows maps on them."""


def require_extra(where: str, extra: str, packages: Sequence[str]) -> None:
    """Stop where packages of an extra are not installed.

    Raises:
        UserError: names what is missing, and the extra.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        what = f"packages are missing: {', '.join(missing)}."
        raise UserError(Problem(where, what, f"Install tilewright with the extra {extra}."))
