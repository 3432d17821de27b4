"""The report as text."""

WIDEST = 60
"""Characters of what was found; the JSON has all of it."""


def part(name, found):
    """One line as soon as a part has ended."""
    told = f": {found['why']}" if found["why"] else ""
    return f"{name}: {found['state']} after {found['seconds']:.0f} s{told}"


def whole(report):
    """All figures, and what was left out."""
    about = report["about"]
    lines = [
        f"{about['device']}, {about['cores']} cores, {about['seconds']:.0f} s, PyTorch {about['packages']['torch']}"
    ]
    cells = [("part", "what", "found", "goal", "met")]
    for name, found in report["parts"].items():
        cells += [(name, row["what"], _shown(row), row["goal"], _met(row["met"])) for row in found["rows"]]
        if found["state"] != "done":
            cells.append((name, f"{found['state']}: {_last_line(found['why'])}", "", "", ""))
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    cells.insert(1, tuple("-" * width for width in widths))
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def wrong(report):
    """Parts that failed or ran out of time, and claims that are false."""
    parts = report["parts"].items()
    bad = [name for name, found in parts if found["state"] in ("failed", "cut off")]
    return bad + [f"{name}: {row['what']}" for name, found in parts for row in found["rows"] if row["met"] is False]


def _shown(row):
    value = row["value"]
    text = f"{value:.4g}" if isinstance(value, float) else str(value).partition("\n")[0][:WIDEST]
    return f"{text} {row['unit']}".rstrip()


def _met(met):
    return {None: "", True: "yes", False: "NO"}[met]


def _last_line(text):
    return text.strip().splitlines()[-1] if text.strip() else ""
