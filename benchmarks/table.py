"""Results as JSON and as a table of text."""

from measure import Unavailable

HEADER = ("row", "case", "against", "goal", "ours", "each", "peer", "ratio", "memory", "peer's", "met", "outputs")


def result(row, case, ours, peers):
    """A case as JSON: the measurements, their medians, and what became of the goals."""
    return {
        "row": row,
        "case": case.title,
        "ours": _series(ours),
        "peak_goal": _goal(case.peak, ours.median("peak"), at_most=True),
        "peers": [_compared(ours, peer, series) for peer, series in zip(case.peers, peers, strict=True)],
    }


def _series(series):
    content = {"name": series.call.name, "failure": series.failure, "runs": series.runs}
    for key in ("seconds", "peak", "imported", "prepared"):
        content[key] = series.median(key)
    if content["peak"] is not None:
        content["above_imports"] = max(run["peak"] - run["imported"] for run in series.runs)
    count, unit = series.call.units
    if count and content["seconds"]:
        content |= {"unit": unit, "seconds_per_unit": content["seconds"] / count}
    return content


def _compared(ours, peer, series):
    content = _series(series)
    both = not ours.failure and not series.failure
    content["speed"] = series.median("seconds") / ours.median("seconds") if both else None
    content["memory"] = ours.median("peak") / series.median("peak") if both else None
    content["speed_goal"] = _goal(peer.speed, content["speed"], at_most=False)
    content["memory_goal"] = _goal(peer.memory, content["memory"], at_most=True)
    content["agree"], content["outputs"] = None, ""
    if both and peer.check:
        content["agree"], content["outputs"] = _checked(peer, ours, series)
    return content


def _checked(peer, ours, series):
    try:
        return peer.check(ours.call, ours.facts, series.call, series.facts)
    except (OSError, KeyError, ValueError, Unavailable) as error:
        return False, f"cannot be compared: {error}"


def _goal(goal, value, *, at_most):
    if goal is None:
        return None
    met = None if value is None else bool(value <= goal if at_most else value >= goal)
    return {"goal": goal, "met": met}


def wrong(results, broken):
    """Rows that broke off, failures of ours, and cases whose outputs do not agree."""
    found = [f"{row}: {why}" for row, why in broken.items()]
    found += [f"{one['row']}, {one['case']}: {one['ours']['failure']}" for one in results if one["ours"]["failure"]]
    for one in results:
        different = [peer for peer in one["peers"] if peer["agree"] is False]
        found += [f"{one['row']}, {one['case']}: {peer['name']}: {peer['outputs']}" for peer in different]
    return found


def text(results, skipped):
    """The table, one line for each comparison, and the rows that were skipped or broke off."""
    cells = [HEADER, *(line for one in results for line in lines(one))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    cells.insert(1, tuple("-" * width for width in widths))
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join(rows + [f"{row}: skipped: {why}" for row, why in skipped.items()])


def lines(one):
    """The cells of a case, one line for each comparison."""
    ours, goal = one["ours"], one["peak_goal"]
    seconds, each, memory = _seconds(ours["seconds"]), _each(ours), _bytes(ours["peak"])
    if goal or not one["peers"]:
        wanted = f"peak <= {_bytes(goal['goal'])}" if goal else ""
        outcome = ours["failure"] or ""
        yield one["row"], one["case"], "-", wanted, seconds, each, "", "", memory, "", _met(goal), outcome
    for peer in one["peers"]:
        wanted, ratio, met = _wanted(peer)
        against = peer["failure"] or peer["outputs"]
        if peer["agree"] is False:
            against = f"DIFFERENT: {against}"
        cells = (wanted, seconds, each, _seconds(peer["seconds"]), ratio, memory, _bytes(peer["peak"]), met, against)
        yield one["row"], one["case"], peer["name"], *cells


def _wanted(peer):
    """Goal, ratio and whether it is met, of a comparison; the ratio of speed where there is no goal."""
    if goal := peer["memory_goal"]:
        ratio = "" if peer["memory"] is None else f"{peer['memory']:.2f}x memory"
        return f"memory <= {goal['goal']:.2g}x", ratio, _met(goal)
    ratio = "" if peer["speed"] is None else f"{peer['speed']:.2f}x speed"
    goal = peer["speed_goal"]
    return f"speed >= {goal['goal']:.2g}x" if goal else "", ratio, _met(goal)


def _met(goal):
    return "" if goal is None else {True: "yes", False: "NO", None: "?"}[goal["met"]]


def _seconds(value):
    return "" if value is None else f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def _each(series):
    if "unit" not in series:
        return ""
    value, unit = series["seconds_per_unit"], series["unit"]
    factor, prefix = next(
        pair for pair in ((1e3, "m"), (1e6, "µ"), (1e9, "n")) if value * pair[0] >= 1 or pair[0] == 1e9
    )
    return f"{value * factor:.3g} {prefix}s/{unit}"


def _bytes(value):
    return "" if value is None else f"{value / 1e9:.2f} GB"
