"""Results to look at, made in seconds: the tiny project with saved probabilities in place of networks; and a viewer."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from tilewright import make_order, read_project, run_step
from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.claim import claim
from tilewright.project.orders import AuditOrder, CalibrateRow
from tilewright.project.places import SPREAD, SPREADS, Places, probability_file, scaled_mask_file, spread_file

ENSEMBLE, THRESHOLD = "saved", 0.5
SQUARE = {"type": "Polygon", "coordinates": [[[5, 5], [25, 5], [25, 25], [5, 25], [5, 5]]]}
"""An outline that is drawn, as GeoJSON."""
PROGRAM = Path(sys.executable).parent / "tilewright"


def make_results(project, *, seen=1.0):
    """Results of the tiny project, in which saved probabilities take the place of networks; gives their folder.

    What is found is what is true, moved by two pixels to the right, without its upper ten rows, and of the columns the
    share alone that is seen.
    """
    config = project.config()
    for key in ("models", "folds"):
        del config[key]
    config["predictions"] = {ENSEMBLE: {"folder": "saved", "scale": "half", "out_of_fold": False}}
    config["ensembles"] = {ENSEMBLE: {"models": {ENSEMBLE: 1}, "calibration": {"threshold": THRESHOLD}}}
    del config["tiles"]
    project.write_config(config)
    with contextlib.chdir(project.folder):
        read, places = read_project("config.yaml"), Places()
        claim(places, ["config.yaml"], read)
        shards = sorted({row.shard for row in read.sheet})
        for shard in shards:
            _of_shard(read, places, shard, seen)
        for shard in read.predicted(ENSEMBLE):
            run_step("segment", make_order(read, "segment", shard=shard, ensemble=ENSEMBLE),
                     probabilities=places.ensembles(ENSEMBLE, shard), calibration="none",
                     out=places.segments(ENSEMBLE, shard))  # fmt: skip
        order = make_order(read, "evaluate", ensemble=ENSEMBLE)
        run_step("evaluate", order, masks="results/masks", segments=f"results/segments/{ENSEMBLE}",
                 out=places.metrics(ENSEMBLE))  # fmt: skip
        _save_spreads(read, places)
    return project.folder / "results"


def _of_shard(read, places, shard, seen):
    """Masks, scaled rasters and probabilities of a shard."""
    run_step("rasterize", make_order(read, "rasterize", shard=shard), out=places.masks(shard))
    for scale in read.scales:
        order = make_order(read, "downscale", shard=shard, scale=scale)
        run_step("downscale", order, masks=places.masks(shard), out=[places.scaled(scale, shard)])
    for row in read.shard(shard):
        source = scaled_mask_file(Path(places.scaled("half", shard)), row.slide)
        for folder in (places.ensembles(ENSEMBLE, shard), places.probabilities(ENSEMBLE, shard)):
            _save_map(source, probability_file(Path(folder), row.slide), seen)


def _save_spreads(read, places):
    """How far those that predict test slides are apart: to the right ever farther; on the second slide twice as far."""
    lines = ["ensemble,slide,source,group,spread"]
    for times, row in enumerate(read.rows("test"), 1):
        folder = Path(places.ensembles(ENSEMBLE, row.shard))
        with open_raster(probability_file(folder, row.slide)) as raster:
            values = np.broadcast_to(np.arange(raster.size.width) * times, raster.read().shape[1:]).astype(np.uint8)
            tags, size = Frame.of(raster).tags([SPREAD]), raster.size
        with create_raster(spread_file(folder, row.slide), size, tags=tags) as raster:
            raster.write(values, 0, 0)
        lines.append(f"{ENSEMBLE},{row.slide},{row.source},{row.group},{values.mean() / 510:.4f}")
    path = Path(places.report()) / SPREADS
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")


def _save_map(source, out, seen=1.0):
    """Probabilities that are the truth, moved and blurred."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if source.exists():
        with open_raster(source) as raster:
            bits, frame, classes = raster.read()[0], Frame.of(raster), raster.classes
    else:
        with open_raster(source.with_name(source.name.replace(".mask.", ".image."))) as raster:
            bits, frame, classes = np.zeros(raster.read().shape[1:], np.uint8), Frame.of(raster), ["gland", "vessel"]
    moved = np.roll(bits, 1, axis=1)
    moved[:5], moved[:, round(seen * moved.shape[1]) :] = 0, 0
    bands = [cv2.GaussianBlur((moved >> k & 1) * np.uint8(230), (0, 0), 0.8) for k in range(len(classes))]
    with create_raster(out, frame.size, bands=len(bands), tags=frame.tags(classes)) as raster:
        raster.write(np.stack(bands), 0, 0)


def make_report(project):
    """Results as of ``make_results``, of which less was seen, with their report; gives its page."""
    make_results(project, seen=0.6)
    with contextlib.chdir(project.folder):
        places = Places()
        shutil.rmtree(places.report())  # which holds what is told of spreads
        run_step("report", make_order(read_project("config.yaml"), "report"), results=places.results,
                 out=places.report())  # fmt: skip
    return project.folder / "results" / "report" / "index.html"


TILED, MODEL = "fine", "near"


def add_borders(project, shard="b"):
    """Give results as of ``make_results`` the tiles of a set and the map of a model, of the slides of a shard."""
    config = project.config()
    config["folds"] = {"count": 2}
    config["tiles"] = {TILED: {"scale": "half", "size": 32, "overlap": 0.25}}
    windows = {"window": [48, 32], "overlap": 0.5, "skip_background": False}
    network = {"architecture": "Unet", "encoder": "tu-resnet18", "encoder_weights": "random"}
    config["models"] = {MODEL: {**network, "tiles": TILED, "inference": windows}}
    project.write_config(config)
    with contextlib.chdir(project.folder):
        read, places = read_project("config.yaml"), Places()
        claim(places, ["config.yaml"], read)
        run_step("tile", make_order(read, "tile", tiles=TILED, shard=shard), scaled=places.scaled("half", shard),
                 masks=places.masks(shard), out=places.tiles(TILED, shard))  # fmt: skip
        for row in read.shard(shard):
            source = scaled_mask_file(Path(places.scaled("half", shard)), row.slide)
            _save_map(source, probability_file(Path(places.probabilities(MODEL, shard)), row.slide))


AUDITED = {"a1": "a", "t1": "t"}
"""Slides of which the audit of ``make_audit`` is, and their shards."""


def make_audit(project):
    """Results as of ``make_results`` with an audit, in which an object is seen that nobody has outlined."""
    results = make_results(project)
    with contextlib.chdir(project.folder):
        read, places = read_project("config.yaml"), Places()
        for slide, shard in AUDITED.items():
            path = probability_file(Path(places.ensembles(ENSEMBLE, shard)), slide)
            with open_raster(path) as raster:
                values, frame, classes = raster.read(), Frame.of(raster), raster.classes
            free = cv2.distanceTransform((values.max(axis=0) == 0).astype(np.uint8), cv2.DIST_L2, 5)
            row, column = np.unravel_index(free.argmax(), free.shape)
            cv2.circle(values[0], (int(column), int(row)), int(min(6, free.max() - 2)), 255, -1)
            path.unlink()
            with create_raster(path, frame.size, bands=len(classes), tags=frame.tags(classes)) as raster:
                raster.write(values, 0, 0)
            run_step("segment", make_order(read, "segment", shard=shard, ensemble=ENSEMBLE),
                     probabilities=places.ensembles(ENSEMBLE, shard), calibration="none",
                     out=places.segments(ENSEMBLE, shard))  # fmt: skip
        rows = [CalibrateRow.of(row) for row in read.sheet if row.slide in AUDITED]
        order = AuditOrder(rows=rows, colors=read.colors, score=0.3)
        run_step("audit", order, masks="results/masks", probabilities=f"results/ensembles/{ENSEMBLE}",
                 segments=f"results/segments/{ENSEMBLE}", out=places.audit(ENSEMBLE))  # fmt: skip
    return results


class Viewer:
    """A viewer that runs, and how it is asked.

    Attributes:
        address: of its page.
        place: what it begins with, behind the #.
        process: its process.
        log: what it says.
    """

    def __init__(self, process, address, log):
        self.process, self.log, self.address, _, self.place = process, log, *address.partition("#")
        parts = urlsplit(address)
        self.port, self.prefix = parts.port, parts.path

    def ask(self, path, *, method="GET", body=None, headers=(), whole=False):
        """The status, the headers and the bytes of an answer; the path counts from the token unless it is whole."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path if whole else self.prefix + path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    @property
    def origin(self):
        """Of its pages."""
        return f"http://127.0.0.1:{self.port}"

    def tell(self, path, value):
        """The status of an answer to a decision, and what it says."""
        headers = {"Content-Type": "application/json", "Origin": self.origin}
        body, status = value if isinstance(value, bytes) else json.dumps(value).encode(), 202
        while status == 202:
            status, _, content = self.ask(path, method="POST", body=body, headers=headers)
        return status, json.loads(content)

    def json(self, path):
        """An answer that is JSON, once it is there."""
        status, content = 202, b""
        while status == 202:
            status, _, content = self.ask(path)
        assert status == 200, content
        return json.loads(content)

    def refusal(self, path, **options):
        """The status of an answer that says what is wrong, and what it says."""
        status, _, content = self.ask(path, **options)
        told = json.loads(content)
        assert status >= 400
        assert set(told) == {"where", "what", "remedy"}
        return status, " ".join(told.values())

    def grey(self, path):
        """The values of a tile."""
        status, kind, content = self.ask(path)
        assert (status, kind["content-type"]) == (200, "image/png"), content
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


@contextlib.contextmanager
def viewer(*arguments, log):
    """A viewer of some results in a process of its own; what it says lies in a log."""
    with Path(log).open("w") as stream:
        process = subprocess.Popen([PROGRAM, "view", *map(str, arguments)], stderr=stream)
    try:
        while not (found := re.search(r"http://\S+", Path(log).read_text())):
            assert process.poll() is None, Path(log).read_text()
        yield Viewer(process, found[0], Path(log))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
