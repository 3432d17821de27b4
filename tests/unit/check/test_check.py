import json
import re
import warnings

import numpy as np
import pytest
import rasterio
from checking import config_of

from tilewright.check.check import check
from tilewright.runtime.errors import UserError

CONFIG = config_of("tumor: {}", "stroma: {}")


def image(path, width=64, height=48):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8") as file:
            file.write(np.full((3, height, width), 200, np.uint8))


def feature(label, x, size=8):
    ring = [[x, 4], [x + size, 4], [x + size, 4 + size], [x, 4 + size], [x, 4]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": label}}}


def outlines(path, *features):
    path.write_text(json.dumps(list(features)))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c", "d"):
        image(tmp_path / f"{name}.tif")
        outlines(tmp_path / f"{name}.geojson", feature("tumor", 5), feature("stroma", 20))
    (tmp_path / "config.yaml").write_text(CONFIG)
    write_sheet(tmp_path, "a,a.tif,a.geojson,train,,,", "b,b.tif,b.geojson,train,,,", "c,c.tif,,test,,,")
    return tmp_path


def write_sheet(folder, *rows):
    header = "slide,image,annotations,role,group,labelled,region"
    (folder / "slides.csv").write_text("\n".join([header, *rows]) + "\n")


def replace_in_config(folder, old, new):
    path = folder / "config.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def examine(project, capsys):
    """The report, and the counts of the last line."""
    with pytest.raises(UserError) as caught:
        check(config=project / "config.yaml")
    assert caught.value.exit_code == 2
    return capsys.readouterr().out, str(caught.value)


def section(report, title):
    found = re.search(rf"^{title} \(\d+\)\n((?:  .*\n)+)", report, re.MULTILINE)
    return found.group(1) if found else ""


def test_sound_project_passes(project, capsys):
    check(config=project / "config.yaml")
    assert capsys.readouterr().out == "0 errors, 0 warnings; 3 slides readable.\n"


def test_ten_mistakes_of_a_sheet_are_all_named(project, capsys):
    (project / "damaged.tif").write_bytes((project / "a.tif").read_bytes()[:500])
    (project / "cut.geojson").write_text('[{"type": "Feature"')
    outlines(project / "odd.geojson", feature("tumour", 5), feature("tumour", 15))
    write_sheet(
        project,
        "a,a.tif,a.geojson,train,,,",
        "A,b.tif,b.geojson,train,,,",  # 1 a name used twice
        "-c,c.tif,,test,,,",  # 2 no name
        "d,dd.tif,,test,,,",  # 3 no such image
        "e,c.tif,,validate,,,",  # 4 no such role
        "f,c.tif,,train,,,",  # 5 a training slide without outlines
        'g,c.tif,c.geojson,train,,"tumor;stromal",',  # 6 no such class
        'h,c.tif,,test,,,"0,0,999,10"',  # 7 a region beyond the image
        "i,damaged.tif,,test,,,",  # 8 an image that cannot be read
        "j,c.tif,cut.geojson,train,,,",  # 9 outlines that cannot be read
        "k,c.tif,odd.geojson,train,,,",  # 10 a label that belongs to no class
    )
    report, _ = examine(project, capsys)
    sheet, images, drawn = (section(report, title) for title in ("sheet", "images", "outlines"))
    assert 'slide "A" is named in row 2 already' in sheet
    assert 'slide "-c" is not a valid name' in sheet
    assert 'image "dd.tif" not found' in sheet
    assert "Nearest file there: d.tif" in sheet
    assert 'role "validate" is unknown' in sheet
    assert "role train needs annotations" in sheet
    assert '"stromal" is no class of the config' in sheet
    assert 'Did you mean "stroma"?' in sheet
    assert "the region 0,0,999,10 reaches beyond the image of 64 x 48" in images
    assert "damaged.tif (slide i): cannot be read" in images or "damaged at" in images
    assert "cut.geojson, line 1: is not valid JSON" in drawn
    assert '2 outlines have the label "tumour" (first: feature 1), which belongs to no class' in drawn
    assert 'Did you mean "tumor"?' in drawn
    assert section(report, "warnings, outlines") == ""


def test_mistakes_of_the_config_do_not_hide_each_other_or_the_sheet(project, capsys):
    replace_in_config(project, "folds: {count: 2}", "folds: {cuont: 2, seed: many}")
    replace_in_config(project, "unet: {tiles: all}", "unet: {tiles: all, architecture: Unett, optimizer: sdg}")
    replace_in_config(project, "models: {unet: 1}", "models: {unit: 1}, calibration: {threshold: {tumor: 2}}")
    write_sheet(project, "a,a.tif,a.geojson,train,,,", "b,b.tif,b.geojson,trian,,,")
    report, counts = examine(project, capsys)
    found = section(report, "config")
    assert 'config.yaml, line 10: unknown key "folds.cuont".' in found
    assert 'Did you mean "count"?' in found
    assert "folds.seed: " in found
    assert 'ensembles.both.models.unit: no model is named "unit"' in found
    assert "both.calibration.threshold.tumor: input should be less than or equal to 1" in found
    assert 'models.unet: architecture "Unett" is unknown' in found
    assert 'models.unet: optimizer "sdg" is unknown.\n    Did you mean "sgd"?' in found
    assert 'role "trian" is unknown' in section(report, "sheet")
    assert counts.startswith("7 errors")


def test_missing_sections_do_not_stop_the_check(project, capsys):
    (project / "config.yaml").write_text("sheet: slides.csv\nclasses: {tumor: {}}\n")
    report, _ = examine(project, capsys)
    for name in ("scales", "tiles", "models", "ensembles"):
        assert f"{name}: field required" in section(report, "config")
    assert 'label "stroma"' in section(report, "outlines")


def test_a_pixel_size_is_needed_where_a_scale_asks_for_it(project, capsys):
    replace_in_config(project, "full: {factor: 1}", "full: {mpp: 0.5}")
    report, _ = examine(project, capsys)
    assert "row 2 (slide a), scale full: its pixel size is unknown" in section(report, "images")


def test_images_that_cannot_be_read_do_not_hide_each_other(project, capsys):
    whole = (project / "a.tif").read_bytes()
    (project / "a.tif").write_bytes(whole[:-1])
    (project / "b.tif").write_text("not found")
    (project / "c.tif").write_bytes(b"")
    write_sheet(
        project,
        "a,a.tif,a.geojson,train,,,",
        "b,b.tif,b.geojson,train,,,",
        "c,c.tif,,test,,,",
        "d,d.tif,d.geojson,train,,,",
    )
    images = section(examine(project, capsys)[0], "images")
    for name, says in (("a", "cut short"), ("b", "it looks like text"), ("c", "the file is empty")):
        assert re.search(rf"{name}\.tif \(slide {name}\): cannot be read.*{says}", images)


def test_too_few_groups_for_the_folds(project, capsys):
    write_sheet(project, "a,a.tif,a.geojson,train,p1,,", "b,b.tif,b.geojson,train,p1,,", "c,c.tif,,test,p2,,")
    report, _ = examine(project, capsys)
    assert "folds.count is 2, but the training slides form 1 group(s)" in section(report, "sheet")


def test_a_file_of_folds_that_divides_a_slide_is_a_leak(project, capsys):
    write_sheet(project, "a,a.tif,a.geojson,train,p1,,", "b,b.tif,b.geojson,train,p1,,", "c,c.tif,,test,p2,,")
    (project / "mine.csv").write_text("shard,group,fold\na,p1,0\nb,p1,1\n")
    replace_in_config(project, "folds: {count: 2}", "folds: {count: 2, file: mine.csv}")
    check(config=project / "config.yaml")
    found = section(capsys.readouterr().out, "warnings, sheet")
    assert 'mine.csv: group "p1" lies in the folds 0, 1: a leak.' in found
    (project / "mine.csv").write_text("shard,group,fold\na,p1,0\nb,p2,1\n")
    write_sheet(project, "a,a.tif,a.geojson,train,p1,,", "b,b.tif,b.geojson,train,p2,,", "c,c.tif,,test,p3,,")
    check(config=project / "config.yaml")
    assert "leak" not in capsys.readouterr().out


def test_class_labelled_on_no_training_slide(project, capsys):
    write_sheet(project, "a,a.tif,a.geojson,train,,tumor,", "b,b.tif,b.geojson,train,,tumor,")
    report, _ = examine(project, capsys)
    assert 'no training slide is labelled for the class "stroma"' in section(report, "sheet")


def test_warnings_alone_pass(project, capsys):
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [8, 8], [8, 0], [0, 8], [0, 0]]]}
    line = {"type": "LineString", "coordinates": [[0, 0], [8, 8]]}
    named = {"classification": {"name": "tumor"}}
    drawn = [{"type": "Feature", "geometry": shape, "properties": named} for shape in (bow, line)]
    outlines(project / "a.geojson", *drawn)
    outlines(project / "b.geojson", feature("tumor", 5), feature("tumor", 60))
    write_sheet(project, "a,a.tif,a.geojson,train,p1,,", "b,b.tif,b.geojson,train,p2,,", "c,c.tif,b.geojson,test,p1,,")
    check(config=project / "config.yaml")
    report = capsys.readouterr().out
    found = section(report, "warnings, outlines")
    assert "feature 1: drawn after a repair" in found
    assert "feature 2: not drawn" in found
    assert "b.geojson (slide b): of its 2 outlines 1 lie by half or more outside of the 64 x 48." in found
    assert 'no outline of a training slide belongs to the class "stroma"' in found
    assert 'group "p1" has slides with the roles train (such as a) and test' in section(report, "warnings, sheet")
    assert report.endswith("0 errors, 7 warnings; 3 slides readable.\n")


def test_thousands_of_shards_are_warned_of(project, capsys, monkeypatch):
    check(config=project / "config.yaml")
    assert "shards" not in capsys.readouterr().out
    monkeypatch.setattr("tilewright.check.sheets.MANY_SHARDS", 2)
    check(config=project / "config.yaml")
    assert "slides.csv: there are 3 shards" in capsys.readouterr().out


def test_a_sample_submission_is_compared_with_the_sheet(project, capsys):
    replace_in_config(project, "folds: {count: 2}", "folds: {count: 2}\nsubmission: {classes: [tumor], sample: s.csv}")
    assert "s.csv: cannot be read" in section(examine(project, capsys)[0], "sheet")
    (project / "s.csv").write_text("id\nc\na\n")
    report, counts = examine(project, capsys)
    assert "s.csv: names 1 id(s) that are no test slides of the sheet: a." in section(report, "sheet")
    assert counts.startswith("1 error")
    (project / "s.csv").write_text("id\nc\n")
    check(config=project / "config.yaml")


def test_weights_to_start_from_must_be_there_or_be_made_by_the_graph(project, capsys):
    replace_in_config(project, "unet: {tiles: all}", 'unet: {tiles: all}\n  next: {tiles: all, start: "w/fold{fold}"}')
    found = section(examine(project, capsys)[0], "config")
    for fold in (0, 1):
        assert f'config.yaml, models.next: start: "w/fold{fold}/model.safetensors" not found.' in found
    replace_in_config(project, "w/fold{fold}", "results/models/unet/fold{fold}")
    check(config=project / "config.yaml")
    assert capsys.readouterr().out.startswith("0 errors, 0 warnings")
    replace_in_config(project, "unet/fold{fold}", "unet/fold1")
    check(config=project / "config.yaml")
    assert "whose scores would be too good" in section(capsys.readouterr().out, "warnings, config")


def test_what_a_training_on_all_slides_starts_from_must_be_trained_so_too(project, capsys):
    replace_in_config(
        project,
        "unet: {tiles: all}",
        'unet: {tiles: all}\n  next: {tiles: all, final: true, start: "results/models/unet/fold{fold}"}',
    )
    with pytest.raises(UserError):
        check(config=project / "config.yaml")
    said = capsys.readouterr().out
    assert 'models.next: start: "results/models/unet/final/model.safetensors" not found.' in said
    assert "give that model final: true too" in said
    replace_in_config(project, "unet: {tiles: all}", "unet: {tiles: all, final: true}")
    check(config=project / "config.yaml")
    assert capsys.readouterr().out.startswith("0 errors, 0 warnings")


def test_a_model_cannot_start_from_itself(project, capsys):
    replace_in_config(project, "unet: {tiles: all}", 'unet: {tiles: all, start: "results/models/unet/fold{fold}"}')
    with pytest.raises(UserError):
        check(config=project / "config.yaml")
    assert "models.unet: start: a model cannot start from itself" in capsys.readouterr().out


def test_a_final_training_that_nothing_uses_is_warned_of(project, capsys):
    replace_in_config(project, "unet: {tiles: all}", "unet: {tiles: all, final: true, inference: {members: folds}}")
    check(config=project / "config.yaml")
    assert "leaves without any use" in section(capsys.readouterr().out, "warnings, config")


def test_an_encoder_that_is_neither_trained_nor_has_weights_is_warned_of(project, capsys):
    replace_in_config(project, "{tiles: all}", "{tiles: all, encoder_rate: 0, encoder_weights: random}")
    check(config=project / "config.yaml")
    assert "encoder_rate: 0 leaves the encoder as it was drawn" in section(capsys.readouterr().out, "warnings, config")
    replace_in_config(project, "encoder_rate: 0, encoder_weights: random", "encoder_rate: 0")
    check(config=project / "config.yaml")
    assert "encoder_rate" not in capsys.readouterr().out


def test_an_encoder_that_the_library_will_drop_is_warned_of(project, capsys):
    replace_in_config(project, "{tiles: all}", "{tiles: all, encoder: timm-efficientnet-b0, encoder_weights: random}")
    check(config=project / "config.yaml")
    said = capsys.readouterr().out
    assert (
        'models.unet: the library will drop the encoder "timm-efficientnet-b0".\n    Use tu-tf_efficientnet_b0,' in said
    )
    replace_in_config(project, "timm-efficientnet-b0, encoder_weights: random", "timm-tf_efficientnet_lite0")
    check(config=project / "config.yaml")
    assert "    Use tu-efficientnet_lite0," in capsys.readouterr().out


def test_a_missing_sheet_is_written_where_the_config_names_a_layout(project, capsys):
    (project / "slides.csv").unlink()
    assert "the slide sheet does not exist" in examine(project, capsys)[0]
    replace_in_config(project, "sheet: slides.csv", "sheet: slides.csv\nlayout: qupath")
    assert "would be written from is not named" in examine(project, capsys)[0]
    check(config=project / "config.yaml", data=project)
    assert (project / "slides.csv").read_text().startswith("slide,image,annotations,role\na,a.tif,a.geojson,train\n")


def test_data_folder_overrides_the_config(project):
    moved = project / "elsewhere"
    moved.mkdir()
    for name in ("a.tif", "b.tif", "c.tif", "a.geojson", "b.geojson"):
        (project / name).rename(moved / name)
    with pytest.raises(UserError):
        check(config=project / "config.yaml")
    check(config=project / "config.yaml", data=moved)


def test_missing_config_is_one_problem(tmp_path, capsys):
    with pytest.raises(UserError, match="1 error, 0 warnings"):
        check(config=tmp_path / "none.yaml")
    assert "the config does not exist" in capsys.readouterr().out


def test_structures_in_which_objects_must_lie_are_looked_for(project, capsys):
    """Else a misspelt label would be found by the last step of a run."""
    (project / "config.yaml").write_text(CONFIG + "segmentation: {inside: [Cortx]}\n")
    outlines(project / "anatomy.json", feature("Cortex", 5))
    sheet = (project / "slides.csv").read_text().splitlines()
    rows = [f"{sheet[0]},anatomy", f"{sheet[1]},anatomy.json", *(f"{row}," for row in sheet[2:])]
    (project / "slides.csv").write_text("\n".join(rows) + "\n")
    report, _ = examine(project, capsys)
    assert "holds no outline with the label Cortx.\n    Labels there: Cortex." in section(report, "outlines")
    (project / "config.yaml").write_text(CONFIG + "segmentation: {inside: [Cortex]}\n")
    check(config=project / "config.yaml")


def test_an_id_that_means_two_slides_is_told_for_both(project, capsys):
    for name in "ab":
        (project / name).mkdir()
        (project / f"{name}.tif").rename(project / name / "1.tif")
    square = {"image_id": 1, "category_id": 1, "segmentation": [[5, 4, 13, 4, 13, 12, 5, 12]]}
    document = {"images": [{"id": 1, "file_name": "1.tif"}], "categories": [{"id": 1, "name": "tumor"}]}
    (project / "c.json").write_text(json.dumps({**document, "annotations": [square]}))
    write_sheet(project, "a,a/1.tif,c.json,train,,,", "b,b/1.tif,c.json,train,,,")
    said = section(examine(project, capsys)[0], "outlines")
    assert '"1.tif" (id 1) means slide a (image a/1.tif) as well as slide b (image b/1.tif).' in said
    assert '"1.tif" (id 1) means slide b (image b/1.tif) as well as slide a (image a/1.tif).' in said
