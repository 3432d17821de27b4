"""Results of other slides, deleted ones, and folders of which files are gone, on the real graph."""

import shutil

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_config_of_other_slides_does_not_write_over_the_results(graph):
    path = graph.project.sheet
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"other_{row}" for row in rows)]) + "\n")
    code, printed = graph.attempt("-n")
    assert code != 0
    assert "results/: holds results of " in printed
    assert "which has no slide in common with" in printed
    assert "Traceback" not in printed
    assert graph.attempt("-n", "--config", "pathvars={results: results/others}")[0] == 0


def test_deleted_objects_come_back_and_what_was_needed_on_the_way_does_not(graph):
    shutil.rmtree(graph.results / "segments" / "both" / "t")
    assert graph.jobs() == {"segment": 1, "encode": 1, "measure": 1, "evaluate": 1, "report": 1}
    graph.run()
    assert (graph.results / "segments" / "both" / "t" / "t2.mask.tif").is_file()
    shutil.rmtree(graph.results / "masks" / "a")
    assert graph.jobs() == {}


def test_a_file_that_is_gone_from_a_folder_is_named_with_what_to_delete(graph):
    for path in ("segments/both/t/t2.mask.tif", "masks/a/a1.tif"):
        (graph.results / path).unlink()
    code, printed = graph.attempt("-n")
    assert code != 0
    assert "results/segments/both/t/: files in it are gone: t2.mask.tif." in printed
    assert "results/masks/a/: files in it are gone: a1.tif." in printed
    assert "Delete the folder, and run again" in printed


def test_a_target_of_a_slide_where_folders_are_of_shards_is_told_which_shard_it_is_in(graph):
    code, printed = graph.attempt("-n", "--", "results/masks/a1")
    assert code == 1
    assert 'has no shard "a1".\n      Slide a1 stands in shard a. Shards: a, b, x1, t.' in printed
    assert "KeyError" not in printed
