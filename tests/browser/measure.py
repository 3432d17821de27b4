"""What docs/view.md says of speed: python tests/browser/measure.py RESULTS SLIDE X Y [PICTURE.png]

Opens the viewer on some results in headless Chromium, goes to a slide, zooms from the whole to its pixels around a
place, drags the map, and prints times and memory. Leave the machine alone meanwhile.
"""

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from driving import READY, browser  # noqa: E402
from viewing import viewer  # noqa: E402

PICTURES = "document.querySelectorAll('.leaflet-tile-loaded').length > 1"
DRAGS = 6


def memory(process, what="VmHWM"):
    """The most memory that a process had, or has (VmRSS), in MB."""
    found = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) / 1024


def main(results, slide, x, y, picture=None):
    with tempfile.TemporaryDirectory() as folder, viewer(results, log=Path(folder) / "log") as seen:  # noqa: SIM117
        with browser(Path(folder) / "chromium") as page:
            began = time.monotonic()
            page.open(seen.address)
            page.until(f"{READY} && [...document.images].every((one) => one.complete)")
            print(f"gallery with thumbnails: {time.monotonic() - began:.2f} s")
            began = time.monotonic()
            page.open(f"{seen.address}#run=0&slide={slide}")
            page.until("location.hash.includes('zoom=')")
            page.until(PICTURES)
            print(f"first view of the slide: {time.monotonic() - began:.2f} s")
            page.rest(3)
            deepest = seen.json(f"0/{slide}/about.json")["zoom"]
            times, whole = {"jpg": [], "png": []}, []
            for zoom in range(3, deepest + 1):
                link = f"#run=0&slide={slide}&layers=truth:1,prediction:1,probability:0.6&x={x}&y={y}&zoom={zoom}"
                page.open("about:blank")
                page.open(seen.address + link)
                page.until(READY)
                page.rest(2)
                page.took.clear(), page.answered.clear()
                for drag in range(DRAGS):
                    page.drag((700, 450), (300 + 20 * drag, 250))
                    page.rest(0.3)
                for url, took in page.answered.items():
                    if found := re.search(r"\d\.(jpg|png)", url):
                        times[found[1]].append(took)
                        whole.append(1000 * page.took.get(url, 0))
            for kind, values in times.items():
                values.sort()
                share = values[int(0.95 * len(values))]
                print(
                    f"{kind}: {len(values)} tiles, median {statistics.median(values):.0f} ms, 95 % below {share:.0f} ms"
                )
            began = time.monotonic()
            found = seen.json(f"0/{slide}/outlines.json?kind=true&box={x - 700},{y - 400},{x + 700},{y + 400}")
            print(f"{len(found['objects'])} outlines: {1000 * (time.monotonic() - began):.0f} ms")
            if picture:
                page.picture(Path(picture))
            print(f"server: {memory(seen.process):.0f} MB at most, {memory(seen.process, 'VmRSS'):.0f} MB at the end")
            others = [url for url in page.asked if not url.startswith((seen.address, "blob:", "data:", "about:"))]
            print(f"requests to others: {len(others)}; errors: {page.said}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
