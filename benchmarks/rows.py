"""The rows of the table: what is worked on, with whom tilewright is compared, and the goals of the design.

Each row is a function of a ``Bench`` that yields cases, in an order in which later ones may use earlier outputs.
"""

from checks import close_pixels, close_tiles, mean_difference, same_facts, same_pixels
from measure import Call, Case, Peer, run

GB = 1e9
TIES = "centres on an edge"
BORDERS = "it also fills the pixels that a border touches"


def trivial(bench):
    """Shows that the program itself works: ours against ours."""
    outlines = bench.inputs.outlines("synthetic", (600, 500), 40)
    call = {"outlines": str(outlines)}
    peer = Call("draw", call | {"out": str(bench.out("trivial", "again"))}, name="again")
    absent = Call("absent", {}, name="absent")
    ours = Call("draw", call | {"out": str(bench.out("trivial", "ours"))})
    yield Case("40 outlines", ours, (Peer(peer, same_pixels(0), speed=0.01), Peer(absent)), peak=GB)


def rasterize(bench):
    """Outlines in memory, drawn and written."""
    sources = [bench.sizes.source] + (["tissue"] if bench.sizes.source == "nuclei" else [])
    files = [(source, bench.outlines(source), bench.sizes.slide) for source in sources]
    for source, outlines, size in files:
        yield _drawn(bench, f"{source} on {size[0]:,} x {size[1]:,}", source, outlines, GB)


def kidney(bench):
    """Glomeruli of the kidney data set, all slides one after the other."""
    outlines = bench.inputs.kidney(bench.sizes.kidney)
    yield _drawn(bench, f"glomeruli of {bench.sizes.kidney} slides", "kidney", outlines, GB)


def _drawn(bench, title, name, outlines, peak):
    def call(function, environment="ours", label="tilewright"):
        arguments = {"outlines": str(outlines), "out": str(bench.out(name, label))}
        return Call(function, arguments, environment, label)

    peers = (
        Peer(call("draw_rasterio", "peers", "rasterio"), same_pixels(1e-4, TIES), speed=3),
        Peer(call("draw_opencv", "peers", "OpenCV"), same_pixels(None, BORDERS)),
    )
    return Case(title, call("draw"), peers, peak=peak)


def rasterize_step(bench):
    """The step from a GeoJSON file, which it also checks and lists; the peer only reads and draws the same file."""
    width, height = bench.sizes.slide
    outlines = bench.outlines()
    project = bench.inputs.project(bench.work / "project", bench.inputs.image((width, height), "empty"), outlines)
    mask = project / "rasterize" / "s.tif"
    ours = Call("run_step", {"project": str(project), "step": "rasterize", "out": str(mask)})
    arguments = {
        "geojson": str(bench.inputs.geojson(outlines)), "width": width, "height": height,
        "out": str(bench.out("step", "rasterio")),
    }  # fmt: skip
    peer = Call("draw_rasterio_geojson", arguments, "peers", "json + rasterio")
    yield Case(
        f"{bench.sizes.source} on {width:,} x {height:,}, GeoJSON", ours,
        (Peer(peer, same_pixels(1e-4, TIES)),), peak=GB,
    )  # fmt: skip


def rle(bench):
    """Run-length encodings of masks of nuclei, from arrays in memory and from files."""
    small, *large = bench.sizes.masks
    yield from _encoded_in_columns(bench, small)
    mask, title = _mask(bench, small)
    rows = {"mask": mask, "order": "row"}
    peer = Peer(_peer("encode_numpy", rows, "NumPy"), same_facts("text"), speed=5)
    yield Case(f"{title}, row-major", Call("encode_array", rows), (peer,))
    coco = _peer("encode_pycocotools", {"mask": mask, "as_text": False}, "pycocotools")
    counts = Call("encode_array", {"mask": mask, "order": "coco"})
    yield Case(f"{title}, COCO counts", counts, (Peer(coco, same_facts("text")),))
    for size in large:
        yield from _encoded_in_columns(bench, size, repeats=1)


def _encoded_in_columns(bench, size, repeats=None):
    mask, title = _mask(bench, size)
    plain = {"mask": mask, "order": "column"}
    # NumPy's concatenation with a Python list turns a mask into 8 bytes a pixel, for which large ones are too large
    encoder = _peer("encode_numpy", plain | {"keep_type": bool(repeats)}, "NumPy")
    coco = _peer("encode_pycocotools", {"mask": mask, "as_text": True}, "pycocotools")
    peers = (Peer(encoder, same_facts("text"), speed=5), Peer(coco, same_facts("text"), speed=4))
    yield Case(f"{title}, column-major", Call("encode_array", plain), peers, repeats=repeats)
    peer = Peer(_peer("encode_numpy_file", plain, "rasterio + NumPy"), same_facts("text"), speed=5)
    yield Case(f"{title}, column-major, from a file", Call("encode_file", plain), (peer,), repeats=repeats)


def _mask(bench, size):
    return str(bench.inputs.mask(bench.outlines(size=size))), f"{size[0] * size[1] / 1e9:.2g} Gpx"


def downscale(bench):
    """Images at a half and a quarter."""
    edge = bench.sizes.image
    for kind, factor in (("jpeg", 2), ("jpeg", 4), ("deflate", 2)):
        image = str(bench.inputs.image((edge, edge), kind))
        name = f"{kind}{factor}"

        def call(function, environment="ours", label="tilewright", name=name, image=image, factor=factor):
            arguments = {"image": image, "factor": factor, "out": str(bench.out(name, label))}
            return Call(function, arguments, environment, label)

        peers = (
            Peer(call("shrink_vips", "peers", "libvips"), close_pixels(1), speed=1 / 1.15),
            Peer(call("shrink_opencv", "peers", "OpenCV"), close_pixels(1), memory=1 / 3),
        )
        yield Case(f"x{factor} of {edge**2 / 1e9:.2g} Gpx, {kind}", call("downscale_image"), peers)


def pyramid(bench):
    """Images at a quarter and a sixteenth, of slides that hold coarser levels."""
    edge = bench.sizes.image
    slides = [(f"{edge**2 / 1e9:.2g} Gpx, JPEG", bench.inputs.image((edge, edge), "pyramid")), *bench.inputs.scanned()]
    for factor in (4, 16):
        for title, image in slides:
            name = f"pyramid{factor}-{image.stem}"

            def call(function, environment="ours", label="tilewright", name=name, image=image, factor=factor, **more):
                arguments = {"image": str(image), "factor": factor, "out": str(bench.out(name, label)), **more}
                return Call(function, arguments, environment, label)

            peers = (
                Peer(call("shrink_openslide", "peers", "OpenSlide loop"), mean_difference(), speed=1),
                Peer(call("downscale_image", label="level 0", levels=False), mean_difference()),
            )
            yield Case(f"x{factor} of {title}", call("downscale_image"), peers)


def tiles(bench):
    """Tiles of 512 pixels at a half, from a JPEG-compressed slide."""
    edge = bench.sizes.tiles
    image = bench.inputs.image((edge, edge), "jpeg")
    outlines = bench.inputs.outlines("synthetic", (edge, edge), 1)
    project = bench.inputs.project(bench.work / "project", image, outlines)
    out = {"project": str(project), "out": str(project / "tiles.h5")}
    units = ((-(-edge // 1024)) ** 2, "tile")

    def call(function, environment, label):
        arguments = {"image": str(image), "size": 512, "factor": 2, "out": str(bench.out("tiles", label, ".h5"))}
        return Call(function, arguments, environment, label, units=units)

    peers = (
        Peer(call("tiles_openslide", "peers", "OpenSlide loop"), close_tiles(1), speed=3),
        Peer(call("tiles_tiatoolbox", "tiatoolbox", "TIAToolbox"), close_tiles(1), speed=3),
    )
    for title, ours in (
        ("tile alone", Call("run_step", out | {"step": "tile"}, units=units)),
        ("downscale + tile", Call("run_steps", out | {"steps": ["downscale", "tile"]}, units=units)),
    ):
        yield Case(f"{title}, {edge**2 / 1e9:.2g} Gpx", ours, peers, before=_ensured(project, "tile"))


def components(bench):
    """Components with areas and centres, from a mask file."""
    edge, count = bench.sizes.components
    mask = {"mask": str(bench.inputs.mask(bench.inputs.outlines("synthetic", (edge, edge), count)))}
    facts = same_facts("objects", "areas", "centre")
    peers = tuple(
        Peer(_peer(function, mask, name), facts, speed=3)
        for function, name in (("components_scipy", "scipy.ndimage"), ("components_skimage", "scikit-image"))
    )
    yield Case(f"{count:,} objects on {edge**2 / 1e9:.2g} Gpx", Call("components", mask), peers)


def growth(bench):
    """Every step at 1, 4 and 16 times the pixels, and at 1, 4 and 16 times the outlines."""
    edge, count = bench.sizes.growth
    large = edge * 2
    axes = {
        "pixels": [(edge * times, count) for times in (1, 2, 4)],
        "outlines": [(large, count * times) for times in (1, 4, 16)],
    }
    for axis, sizes in axes.items():
        projects = [_synthetic(bench, *size) for size in sizes]
        (small, few), (big, many) = sizes[0], sizes[-1]
        extent = f"{small:,}² to {big:,}²" if axis == "pixels" else f"{few:,} to {many:,}"
        for step in ("rasterize", "downscale", "tile", "segment", "encode"):
            one, four, sixteen = (
                Call(
                    "run_step", {"project": str(project), "step": step}, name=f"{times}x {axis}",
                    units=(size[0] ** 2, "pixel") if axis == "pixels" else (size[1], "outline"),
                )
                for project, size, times in zip(projects, sizes, (1, 4, 16), strict=True)
            )  # fmt: skip
            peers = (Peer(four, memory=1.2), Peer(one, memory=1.2))
            yield Case(f"{step}, {extent} {axis}", sixteen, peers, before=_ensured(projects, step))


def predict(bench):
    """A slide by windows of 512 pixels that overlap by a quarter."""
    edge, large = bench.sizes.predict

    def call(function, network, size, name, label, out=True, **more):
        arguments = {
            "image": str(bench.inputs.image((size, size), "deflate")),
            "network": network,
            "window": 512,
            "overlap": 0.25,
        }
        written = {"out": str(bench.out(name, label))} if out else {}
        return Call(
            function, {**arguments, **written, **more}, name=label, module="prediction", units=(size**2, "pixel")
        )

    monai = call("predict_monai", "unet", edge, "unet", "MONAI")
    bare = call("predict_bare", "unet", edge, "unet", "bare network", out=False)
    peers = (Peer(bare, speed=0.98), Peer(monai, close_pixels(1)))
    yield Case(f"U-Net, {edge:,} x {edge:,}", call("predict", "unet", edge, "unet", "tilewright"), peers)
    half = call("predict", "unet", edge, "half", "tilewright", tissue=0.5)
    yield Case(f"U-Net, {edge:,} x {edge:,}, half of it background", half, (Peer(monai, speed=1.5),))
    plain = call("predict", "plain", edge, "plain", "tilewright")
    where = {"image": plain.arguments["image"], "network": "plain", "window": 512, "overlap": 0.25}
    engine = Call(
        "predict_tiatoolbox", where | {"out": str(bench.out("plain", "TIAToolbox"))}, "tiatoolbox", "TIAToolbox"
    )
    monai_plain = call("predict_monai", "plain", edge, "plain", "MONAI")
    yield Case(
        f"small network, {edge:,} x {edge:,}", plain,
        (Peer(engine, close_pixels(None)), Peer(monai_plain, close_pixels(1))),
    )  # fmt: skip
    ours = call("predict", "convolution", large, "convolution", "tilewright")
    whole = call("predict_monai", "convolution", large, "convolution", "MONAI")
    yield Case(f"one convolution, {large:,} x {large:,}", ours, (Peer(whole, close_pixels(1), memory=0.25),), repeats=1)


def host(bench):
    """What a prediction costs beside its network; that of the others is a network that costs next to nothing."""
    edge = bench.sizes.predict[0] * 2
    image = str(bench.inputs.image((edge, edge), "scaled"))

    def call(function, label, module="prediction", environment="ours", **more):
        arguments = {"image": image, "out": str(bench.out("host", label.replace(" ", "-"))), **more}
        return Call(function, arguments, environment, label, module, (edge**2, "pixel"))

    windows = {"network": "nothing", "window": 512, "overlap": 0.25}
    peers = (
        Peer(call("decode_and_write", "decoding and writing once"), speed=1 / 1.5),
        Peer(call("host", "overlap of three quarters", overlap=0.75), speed=0.9),
        Peer(call("predict_monai", "MONAI", **windows)),
        Peer(call("predict_tiatoolbox", "TIAToolbox", "", "tiatoolbox", **windows)),
    )
    yield Case(f"{edge:,} x {edge:,}", call("host", "tilewright", overlap=0.25), peers, clock="processor")


def augment(bench):
    """Tiles of the presets' sizes to a batch, on one thread: the half of a loading process, then both halves."""
    image = str(bench.inputs.image((1600, 1600), "deflate"))
    for name, edge, crop, centered in (
        ("strong", 768, 512, True), ("strong", 512, 512, True), ("strong", 192, 128, False),
        ("rich", 768, 512, True), ("light_scale", 512, 256, False),
    ):  # fmt: skip
        count = bench.sizes.augmented * (512 // crop) ** 2
        tiles = {"image": image, "name": name, "edge": edge, "crop": crop, "centered": centered, "count": count}

        def call(function, tiles=tiles, label="tilewright", **more):
            return Call(function, {**tiles, **more}, name=label, module="augmentation", units=(tiles["count"], "tile"))

        for title, whole, speed in (("loading", False, 5 if crop > 128 else None), ("both halves", True, 1)):
            ours = call("augment", whole=whole)
            peer = call("albumented", label="albumentations", whole=whole)
            yield Case(f"{name}, {edge} to {crop}, {title}", ours, (Peer(peer, speed=speed),), clock="processor")


def full(bench):
    """The chain on one large slide, each step in its own process."""
    edge, count = bench.sizes.full
    project = _synthetic(bench, edge, count)
    for step in ("rasterize", "downscale", "tile", "probabilities", "segment", "encode"):
        ours = Call("run_step", {"project": str(project), "step": step}, units=(edge**2, "pixel"))
        title = f"{step}, {edge:,} x {edge:,}, {count:,} outlines"
        yield Case(title, ours, peak=2 * GB, before=_ensured(project, step), repeats=1)


def chain(bench):
    """From prediction to submission on one large slide, and on one with a tenth of its pixels."""
    edge, count = bench.sizes.full
    small = round(edge / 10**0.5)
    projects = [_synthetic(bench, size, max(1, count * size**2 // edge**2)) for size in (edge, small)]
    for step in ("predict", "ensemble", "segment", "encode"):
        ours, tenth = (
            Call(
                "run_chain",
                {"project": str(project), "step": step},
                name=name,
                module="chain",
                units=(size**2, "pixel"),
            )
            for project, name, size in zip(
                projects, ("tilewright", "a tenth of the pixels"), (edge, small), strict=True
            )
        )

        def before(step=step):
            for project in projects:
                run(Call("ensure_steps", {"project": str(project), "before": "tile"}))
                run(Call("ensure_chain", {"project": str(project), "before": step}, module="chain"))

        title = f"{step}, {edge:,} x {edge:,}"
        yield Case(title, ours, (Peer(tenth, memory=1.2),), peak=2 * GB, before=before, repeats=1)


def _synthetic(bench, edge, count):
    """A project on a slide of real texture with synthetic outlines."""
    outlines = bench.inputs.outlines("synthetic", (edge, edge), count)
    image = bench.inputs.image((edge, edge), "jpeg")
    return bench.inputs.project(bench.work / f"{edge}-{count}", image, outlines)


def _ensured(projects, step):
    """A function that runs the steps before ``step`` where their results are missing."""
    folders = projects if isinstance(projects, list) else [projects]

    def ensure():
        for folder in folders:
            run(Call("ensure_steps", {"project": str(folder), "before": step}))

    return ensure


def _peer(function, arguments, name):
    return Call(function, arguments, "peers", name)


ROWS = {
    "rasterize": rasterize,
    "rasterize-step": rasterize_step,
    "kidney": kidney,
    "rle": rle,
    "downscale": downscale,
    "pyramid": pyramid,
    "tiles": tiles,
    "components": components,
    "predict": predict,
    "host": host,
    "augment": augment,
    "growth": growth,
    "full": full,
    "chain": chain,
}
HIDDEN = {"trivial": trivial}
