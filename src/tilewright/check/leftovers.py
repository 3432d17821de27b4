"""What lies in the results and no rule of the config makes: of removed models and folds, or of an earlier layout."""

from collections.abc import Iterator
from pathlib import Path

from tilewright.project.places import Places
from tilewright.project.project import Project
from tilewright.runtime.digests import MEMORY


def leftovers(project: Project, places: Places) -> list[Path]:
    """What lies below the results and no rule of a config makes; what is hidden or of another config is left out."""
    made = {Path(path) for path in _made(project, places)}
    above = {parent for path in made for parent in path.parents}
    elsewhere = {Path(places.logs), Path(places.benchmarks)}
    return sorted(_others(Path(places.results), made | elsewhere, above))


def _others(folder: Path, made: set[Path], above: set[Path]) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path in above:
                yield from _others(path, made, above)
            elif path not in made and not path.name.startswith(".") and not (path / MEMORY).is_dir():
                yield path


def _made(project: Project, places: Places) -> Iterator[str]:
    """All that the rules of a config can make."""
    config = project.config
    shards = sorted({row.shard for row in project.sheet})
    yield from (places.folds(), places.slides(), places.report())
    for shard in shards:
        yield places.masks(shard)
        yield from (places.scaled(scale, shard) for scale in project.scales)
        yield from (places.tiles(tiles, shard) for tiles in config.tiles)
        yield from (places.probabilities(member, shard) for member in (*project.known("model"), *config.predictions))
        yield from (places.ensembles(name, shard) for name in config.ensembles)
        yield from (places.segments(name, shard) for name in config.ensembles)
    for model in project.known("model"):
        yield places.seams(model)
    for model, spec in config.models.items():
        for part in project.trained_parts(model):
            yield places.model(model, part)
            yield from (places.pseudo(model, part, shard) for shard in shards if spec.pseudo)
    for name in config.ensembles:
        yield from (places.weights(name), places.calibration(name), places.submission(name))
        yield from (places.metrics(name), places.audit(name), places.bundle(name))
