"""What tilewright is compared with: each function as a user of that library would write it, and nothing of tilewright.

Measured functions are generators as ``child.py`` wants them; each imports its library before the first ``yield``.
"""

import json
import os
import warnings
from pathlib import Path

from shared import area_facts, numbered, read_shapes, text_facts

GTIFF = {
    "driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1,
    "sparse_ok": True, "bigtiff": "if_safer",
}  # fmt: skip
VIPS = {"tile": True, "tile_width": 512, "tile_height": 512, "compression": "deflate", "level": 1, "bigtiff": True}


def draw_rasterio(outlines, out):
    """Draw every slide into one array by rasterio, then write it."""
    from rasterio.features import rasterize

    yield
    slides = read_shapes(outlines)
    yield
    for number, ((width, height), shapes) in enumerate(slides):
        array = rasterize(((shape, 1) for shape in shapes), (height, width), dtype="uint8")
        _write(array, out, number)
    yield


def draw_rasterio_geojson(geojson, width, height, out):
    """Read a GeoJSON file, draw it into one array by rasterio, then write it."""
    from rasterio.features import rasterize

    yield
    yield
    features = json.loads(Path(geojson).read_text())["features"]
    array = rasterize(((feature["geometry"], 1) for feature in features), (height, width), dtype="uint8")
    _write(array, out, 0)
    yield


def draw_opencv(outlines, out):
    """Draw every slide into one array by OpenCV, then write it."""
    import cv2
    import numpy as np
    import shapely

    def points(ring):
        return np.round((shapely.get_coordinates(ring) - 0.5) * 256).astype(np.int32)

    yield
    slides = read_shapes(outlines)
    yield
    for number, ((width, height), shapes) in enumerate(slides):
        array = np.zeros((height, width), np.uint8)
        for shape in shapes:
            for part in getattr(shape, "geoms", [shape]):
                cv2.fillPoly(array, [points(ring) for ring in (part.exterior, *part.interiors)], 1, shift=8)
        _write(array, out, number)
    yield


def encode_numpy(mask, order, keep_type=False):
    """The encoder of a hundred notebooks; ``keep_type``: without its silent conversion to 8 bytes a pixel."""
    import numpy as np

    yield
    array = _read(mask)
    yield
    pixels = array.T.flatten() if order == "column" else array.flatten()
    zero = np.zeros(1, array.dtype) if keep_type else [0]
    pixels = np.concatenate([zero, pixels, zero])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    text = " ".join(str(x) for x in runs)
    yield
    yield text_facts([text])


def encode_numpy_file(mask, order):
    """The same, reading the mask file as part of the work, one byte a pixel."""
    stages = encode_numpy(mask, order, keep_type=True)
    yield
    yield
    next(stages)
    next(stages)
    next(stages)
    yield
    yield next(stages)


def encode_pycocotools(mask, as_text):
    """COCO's encoder, with the conversion to columns that it asks for.

    ``as_text``: facts as those of start and length.
    """
    import numpy as np
    from pycocotools import mask as coco

    yield
    array = _read(mask)
    yield
    code = coco.encode(np.asfortranarray(array))
    yield
    yield text_facts([_start_length(code["counts"]) if as_text else code["counts"].decode()])


def _start_length(counts):
    """COCO's compressed counts as "start length ..."; after the measurement, for comparison."""
    values, position = [], 0
    while position < len(counts):
        value, shift, more = 0, 0, True
        while more:
            digit = counts[position] - 48
            value |= (digit & 31) << shift
            more, position, shift = bool(digit & 32), position + 1, shift + 5
            if not more and digit & 16:
                value |= -1 << shift
        values.append(value + values[-2] if len(values) > 2 else value)
    numbers, end = [], 0
    for index, value in enumerate(values):
        if index % 2 and value:
            numbers += [end + 1, value]
        end += value
    return " ".join(map(str, numbers))


def shrink_vips(image, factor, out):
    """libvips alone, streaming."""
    import pyvips

    yield
    yield
    pyvips.Image.new_from_file(image, access="sequential").shrink(factor, factor).tiffsave(out, **VIPS)
    yield


def shrink_opencv(image, factor, out):
    """OpenCV on the whole image."""
    import cv2
    import pyvips

    yield
    yield
    pixels = pyvips.Image.new_from_file(image, access="sequential").numpy()
    small = cv2.resize(pixels, (pixels.shape[1] // factor, pixels.shape[0] // factor), interpolation=cv2.INTER_AREA)
    pyvips.Image.new_from_array(small).tiffsave(out, **VIPS)
    yield


def shrink_openslide(image, factor, out):
    """The usual loop over the level of an OpenSlide file that is fine enough; the same kind of file as ours."""
    import cv2
    import numpy as np
    import openslide
    import rasterio
    from rasterio.windows import Window

    yield
    yield
    with openslide.OpenSlide(image) as slide:
        level = slide.get_best_level_for_downsample(factor * 1.001)
        more = factor // round(slide.level_downsamples[level])
        width, height = (-(-length // factor) for length in slide.dimensions)
        options = {"width": width, "height": height, "count": 3, "dtype": "uint8", "photometric": "rgb"}
        layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1}
        with (
            _no_warning(rasterio),
            rasterio.open(out, "w", driver="GTiff", interleave="pixel", **options, **layout) as file,
        ):
            for y in range(0, height, 512):
                for x in range(0, width, 512):
                    edges = min(512, width - x), min(512, height - y)
                    region = slide.read_region((x * factor, y * factor), level, tuple(edge * more for edge in edges))
                    pixels = np.asarray(region.convert("RGB"))
                    if more > 1:
                        pixels = cv2.resize(pixels, edges, interpolation=cv2.INTER_AREA)
                    file.write(np.moveaxis(pixels, -1, 0), window=Window(x, y, *edges))
    yield


def tiles_openslide(image, size, factor, out):
    """The usual loop over an OpenSlide file."""
    import h5py
    import numpy as np
    import openslide
    from PIL import Image

    yield
    yield
    with openslide.OpenSlide(image) as slide, h5py.File(out, "w") as archive:
        width, height = slide.dimensions
        edge = size * factor
        dataset = _dataset(h5py, archive, size)
        for y in range(0, height, edge):
            for x in range(0, width, edge):
                region = slide.read_region((x, y), 0, (edge, edge))
                white = Image.new("RGB", region.size, (255, 255, 255))
                white.paste(region, mask=region.getchannel("A"))
                _append(dataset, np.asarray(white.resize((size, size), Image.Resampling.BOX)))
    yield


def tiles_tiatoolbox(image, size, factor, out):
    """TIAToolbox's extractor of a grid of patches."""
    import h5py
    from tiatoolbox.tools.patchextraction import SlidingWindowPatchExtractor

    yield
    yield
    with h5py.File(out, "w") as archive:
        patches = SlidingWindowPatchExtractor(
            input_img=Path(image), patch_size=size, stride=size, resolution=1 / factor, units="baseline",
            pad_mode="constant", pad_constant_values=255, within_bound=False,
        )  # fmt: skip
        dataset = _dataset(h5py, archive, size)
        for patch in patches:
            _append(dataset, patch[..., :3])
    yield


def _dataset(h5py, archive, size):
    shape = (size, size, 3)
    return archive.create_dataset(
        "images", (0, *shape), "uint8", maxshape=(None, *shape), chunks=(1, *shape), compression="lzf"
    )


def _append(dataset, pixels):
    dataset.resize(len(dataset) + 1, axis=0)
    dataset[len(dataset) - 1] = pixels


def components_scipy(mask):
    """Label by SciPy, then areas and centres."""
    import numpy as np
    from scipy import ndimage

    yield
    yield
    array = _read(mask)
    labels, count = ndimage.label(array, np.ones((3, 3)))
    area = np.bincount(labels.ravel())[1:]
    centre = np.array(ndimage.center_of_mass(array, labels, np.arange(1, count + 1)))
    yield
    yield area_facts(area, centre[:, 1] + 0.5, centre[:, 0] + 0.5)


def components_skimage(mask):
    """Label and table by scikit-image."""
    from skimage.measure import label, regionprops_table

    yield
    yield
    labels = label(_read(mask), connectivity=2)
    table = regionprops_table(labels, properties=("area", "centroid", "bbox"))
    yield
    yield area_facts(table["area"], table["centroid-1"] + 0.5, table["centroid-0"] + 0.5)


def _read(path):
    """A mask file as an array, one byte a pixel."""
    import rasterio

    with _no_warning(rasterio), rasterio.open(path) as file:
        return file.read(1)


def _write(array, out, number):
    import rasterio

    height, width = array.shape
    with (
        _no_warning(rasterio),
        rasterio.open(numbered(out, number), "w", width=width, height=height, count=1, dtype="uint8", **GTIFF) as file,
    ):
        file.write(array, 1)


def _no_warning(rasterio):
    return warnings.catch_warnings(action="ignore", category=rasterio.errors.NotGeoreferencedWarning)


def predict_tiatoolbox(image, network, window, overlap, out):
    """Predict a slide with TIAToolbox's engine, which keeps the probabilities in a Zarr store."""
    import tempfile

    import cv2
    import numpy as np
    import torch
    from shared import nothing, plain_network
    from tiatoolbox.models.engine.io_config import IOSegmentorConfig
    from tiatoolbox.models.engine.semantic_segmentor import SemanticSegmentor
    from tiatoolbox.models.models_abc import ModelABC

    class Model(ModelABC):
        def __init__(self):
            super().__init__()
            self.network = nothing() if network == "nothing" else plain_network()

        def forward(self, images):
            return torch.sigmoid(self.network(images.permute(0, 3, 1, 2).float() / 127.5 - 1)).permute(0, 2, 3, 1)

        @staticmethod
        def infer_batch(model, batch, *, device):
            with torch.inference_mode():
                return model(batch.to(device)).cpu().numpy()

    yield
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    baseline, edge, step = [{"units": "baseline", "resolution": 1.0}], [window, window], round(window * (1 - overlap))
    places = IOSegmentorConfig(
        input_resolutions=baseline, output_resolutions=baseline, save_resolution=baseline[0],
        patch_input_shape=edge, patch_output_shape=edge, stride_shape=[step, step],
    )  # fmt: skip
    engine = SemanticSegmentor(model=Model(), batch_size=4, num_workers=0, device="cpu", verbose=False)
    yield
    with tempfile.TemporaryDirectory(dir=Path(out).parent) as folder:
        stores = engine.run(
            [Path(image)], patch_mode=False, ioconfig=places, save_dir=Path(folder) / "run", output_type="zarr",
            auto_get_mask=False, return_probabilities=True,
        )  # fmt: skip
        yield
        values = np.asarray(_probabilities(stores))
        cv2.imwrite(out, (values * 255 + 0.5).astype(np.uint8))
        yield


def _probabilities(stores):
    """The probabilities of the first slide, rows x columns."""
    import zarr

    path = next(iter(stores.values())) if isinstance(stores, dict) else stores
    store = zarr.open(str(path[0] if isinstance(path, list) else path), mode="r")
    return store["probabilities"][..., 0]
