"""Sheets and configs as people make them, as far as check and the graph read them."""

import json
import warnings

import numpy as np
import pytest
import rasterio

from tilewright.check.check import check
from tilewright.graph import Graph
from tilewright.project.config import Config
from tilewright.project.configfile import load_values
from tilewright.runtime.errors import UserError
from tilewright.tiles.folding import read_project

CONFIG = """\
sheet: slides.csv
classes:
  a: {}
scales:
  full: {factor: 1}
tiles:
  t: {scale: full, size: 64}
folds: {count: 2}
models:
  m: {tiles: t, architecture: FCN}
ensembles:
  e: {models: {m: 1}}
"""
SHEET = "slide,image,annotations,role,group,source\nx,x.png,x.geojson,train,g1,Köln\ny,y.png,y.geojson,train,g2,Lund\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ring = [[4, 4], [24, 4], [24, 24], [4, 24], [4, 4]]
    outline = {
        "type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "a"}},
    }  # fmt: skip
    for name in "xy":
        picture(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.geojson").write_text(json.dumps([outline]))
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "slides.csv").write_text(SHEET)
    return tmp_path


def picture(path):
    pixels = np.random.default_rng(0).integers(80, 200, (3, 64, 64), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="PNG", width=64, height=64, count=3, dtype="uint8") as file:
            file.write(pixels)


def passes(project, capsys):
    """What check prints of a run that it finds fit."""
    check(config=project / "config.yaml")
    return capsys.readouterr().out


def told(project, capsys):
    """What check prints of one that it does not."""
    with pytest.raises(UserError):
        check(config=project / "config.yaml")
    return capsys.readouterr().out


def alter(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def sources(project):
    return [row.source for row in read_project(project / "config.yaml").sheet]


@pytest.mark.parametrize(
    ("data", "warned"),
    [
        (SHEET.encode("utf-16"), False),
        (SHEET.encode("cp1252"), True),
        (SHEET.replace(",", ";").encode(), False),
        (SHEET.replace(",", "\t").encode("utf-16-le"), False),
        (("sep=;\n" + SHEET.replace(",", ";")).encode(), False),
    ],
)
def test_a_sheet_of_excel_is_read_and_a_guess_is_told(project, capsys, data, warned):
    (project / "slides.csv").write_bytes(data)
    assert ("was read as Windows-1252" in passes(project, capsys)) == warned
    assert sources(project) == ["Köln", "Lund"]


def test_a_sheet_that_pandas_wrote_is_read_without_its_index(project, capsys):
    header, first, second = SHEET.splitlines()
    (project / "slides.csv").write_text(f",{header}\n0,{first}\n10,{second}\n")
    assert "0 errors, 0 warnings; 2 slides" in passes(project, capsys)
    assert sources(project) == ["Köln", "Lund"]


def test_a_workbook_is_named_as_one_and_the_config_is_checked_all_the_same(project, capsys):
    (project / "slides.csv").write_bytes(b"PK\x03\x04")
    alter(project / "config.yaml", ("folds: {count: 2}", "folds: {cuont: 2}"))
    report = told(project, capsys)
    assert "slides.csv: is a workbook of Excel or LibreOffice" in report
    assert 'unknown key "folds.cuont"' in report


@pytest.mark.parametrize(
    ("column", "meant"),
    [("group", "groups"), ("group", "Group"), ("annotations", "annotation"), ("source", "Source"), ("role", "roles")],
)
def test_columns_with_nearly_a_known_name_are_asked_about(project, capsys, column, meant):
    alter(project / "slides.csv", (f",{column},", f",{meant},") if column != "source" else (",source\n", ",Source\n"))
    assert f'header: did you mean "{column}"? The column "{meant}" means nothing.' in told(project, capsys)
    with pytest.raises(UserError, match="did you mean"):
        read_project(project / "config.yaml")


def test_columns_of_the_user_are_left_alone_also_beside_the_known_one(project, capsys):
    alter(project / "slides.csv", (",source\n", ",source,stain,ages,groups\n"), (",Köln", ",Köln,HE,40,k"))
    assert "0 errors" in passes(project, capsys)


def test_a_missing_column_is_told_with_the_one_that_is_likely_meant(project, capsys):
    alter(project / "slides.csv", ("slide,image,", "Slide,images,"))
    report = told(project, capsys)
    assert 'the column "slide" is missing.\n    Rename the column "Slide"' in report
    assert 'the column "image" is missing.\n    Rename the column "images"' in report


@pytest.mark.parametrize("written", ["0,25", "0.25"])
def test_a_pixel_size_may_have_a_decimal_comma(project, written):
    rows = [line.replace(",", ";") for line in SHEET.splitlines()]
    (project / "slides.csv").write_text(f"{rows[0]};mpp\n{rows[1]};{written}\n{rows[2]};\n")
    assert [row.mpp for row in read_project(project / "config.yaml").sheet] == [0.25, None]


@pytest.mark.parametrize("way", ["~/there", "$PLACE/there", "${PLACE}/there"])
def test_home_and_variables_stand_for_what_they_stand_for_in_a_shell(project, capsys, monkeypatch, way):
    home = project / "home"
    (home / "there").mkdir(parents=True)
    for file in ("x.png", "x.geojson", "y.png", "y.geojson"):
        (project / file).rename(home / "there" / file)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PLACE", str(home))
    alter(project / "config.yaml", ("sheet: slides.csv", f"sheet: slides.csv\ndata: {way}"))
    assert "2 slides readable" in passes(project, capsys)
    alter(project / "config.yaml", (f"data: {way}\n", ""))
    alter(project / "slides.csv", *((f",{file}", f",{way}/{file}") for file in ("x.png", "x.ge", "y.png", "y.ge")))
    assert "2 slides readable" in passes(project, capsys)
    (project / "slides.csv").rename(home / "there" / "slides.csv")
    alter(project / "config.yaml", ("sheet: slides.csv", f"sheet: {way}/slides.csv"))
    assert "2 slides readable" in passes(project, capsys)


def test_all_keys_that_are_paths_know_variables(monkeypatch):
    monkeypatch.setenv("PLACE", "/there")
    config = Config.model_validate(
        {
            "bundles": {"b": {"path": "$PLACE/b.zip"}}, "predictions": {"p": {"folder": "$PLACE/p"}},
            "folds": {"file": "$PLACE/folds.csv"}, "submission": {"sample": "$PLACE/sample.csv"},
            "tiles": {"t": {"scale": "s"}},
            "models": {"m": {"tiles": "t", "encoder_weights": "$PLACE/w.safetensors", "start": "$PLACE/fold{fold}"}},
            "ensembles": {"e": {"models": {"m": 1}}},
        }
    )  # fmt: skip
    assert (config.bundles["b"].path, config.predictions["p"].folder) == ("/there/b.zip", "/there/p")
    assert (config.folds.file, config.submission.sample) == ("/there/folds.csv", "/there/sample.csv")
    model = config.models["m"]
    assert (model.encoder_weights, model.start) == ("/there/w.safetensors", "/there/fold{fold}")


def test_a_file_that_bears_a_variables_name_is_taken_before_what_it_stands_for(project, capsys, monkeypatch):
    monkeypatch.setenv("PLACE", "elsewhere")
    (project / "x.png").rename(project / "$PLACE.png")
    alter(project / "slides.csv", (",x.png", ",$PLACE.png"))
    assert "2 slides readable" in passes(project, capsys)


def test_a_folder_of_data_that_is_not_there_is_told_where_files_lie_beside_the_sheet(project, capsys):
    alter(project / "config.yaml", ("sheet: slides.csv", "sheet: slides.csv\ndata: dta"))
    assert f"data: the folder {project}/dta does not exist." in told(project, capsys)


def test_what_is_not_found_is_told_with_whole_paths(project, capsys):
    (project / "x.png").unlink()
    alter(project / "config.yaml", ("sheet: slides.csv", "sheet: slides.csv\ndata: ."))
    assert f'image "x.png" not found.\n    Looked in {project}/.' in told(project, capsys)
    alter(project / "config.yaml", ("slides.csv", "slide.csv"))
    assert f"{project}/slide.csv: the slide sheet does not exist" in told(project, capsys)


def test_a_sheet_beside_the_config_is_found_from_another_folder(project, capsys, monkeypatch):
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    assert "2 slides readable" in passes(project, capsys)
    assert sources(project) == ["Köln", "Lund"]
    (project / "elsewhere" / "slides.csv").write_text(SHEET.replace("Lund", "Oslo"))
    for file in ("x.png", "x.geojson", "y.png", "y.geojson"):
        (project / "elsewhere" / file).write_bytes((project / file).read_bytes())
    assert sources(project) == ["Köln", "Oslo"]


@pytest.mark.parametrize(
    ("old", "new", "line", "first"),
    [
        ("folds: {count: 2}\n", "folds: {count: 2, seed: 7}\nfolds: {count: 2}\n", 9, 8),
        ("folds: {count: 2}\n", "folds: {count: 2, count: 2}\n", 8, 8),
        ("  a: {}\n", "  a: {}\n  b: {}\n  a: {color: '#ff0000'}\n", 5, 3),
        ("architecture: FCN}", "architecture: FCN,\n    tiles: t}", 11, 10),
    ],
)
def test_a_key_that_is_given_twice_is_an_error_of_check_and_of_the_graph(project, capsys, old, new, line, first):
    path = project / "config.yaml"
    alter(path, (old, new))
    report = told(project, capsys)
    assert report.count("already.") == 1
    assert f"config.yaml, line {line}: the key" in report
    assert f"is in line {first} already." in report
    with pytest.raises(UserError, match=f"is in line {first} already"):
        Graph.load(load_values(path), [path])


def test_the_same_key_in_two_sections_and_shared_sections_are_no_mistake(project, capsys):
    alter(
        project / "config.yaml",
        ("  m: {tiles: t, architecture: FCN}\n", "  m: &m {tiles: t, architecture: FCN}\n  n: {<<: *m, epochs: 3}\n"),
    )
    assert "0 errors" in passes(project, capsys)


def test_a_config_that_is_no_text_in_utf8_is_told_with_its_line(project, capsys):
    (project / "config.yaml").write_bytes(CONFIG.replace("scales:", "# für alle\nscales:").encode("cp1252"))
    assert "config.yaml, line 4: is not text in UTF-8 (byte" in told(project, capsys)
    with pytest.raises(UserError, match="Save it as UTF-8"):
        read_project(project / "config.yaml")
    (project / "config.yaml").write_bytes(b"\xef\xbb\xbf" + CONFIG.encode())
    assert "0 errors" in passes(project, capsys)


# One batch, weights, values of the command line


def model(project, text):
    alter(project / "config.yaml", ("m: {tiles: t, architecture: FCN}", f"m: {{tiles: t, {text}}}"))


LIBRARY = "encoder: resnet18, encoder_weights: random"


@pytest.mark.parametrize("architecture", ["DeepLabV3Plus", "DeepLabV3"])
def test_a_batch_of_one_that_a_network_cannot_normalise_is_told(project, capsys, architecture):
    model(project, f"architecture: {architecture}, {LIBRARY}, batch_size: 1")
    text = told(project, capsys)
    assert f"models.m: batch_size: {architecture} with resnet18 needs 2 tiles at least" in text
    assert "Set batch_size: 2 or more." in text
    alter(project / "config.yaml", ("batch_size: 1", "batch_size: 2"))
    assert "0 errors" in passes(project, capsys)


def test_a_network_that_takes_no_such_tile_is_told_before_it_is_trained(project, capsys):
    model(project, f"architecture: PAN, {LIBRARY}")
    assert "models.m: PAN with resnet18 takes no batch of 8 tiles of 64 x 64 (" in told(project, capsys)
    alter(project / "config.yaml", ("size: 64", "size: 128"))
    assert "0 errors" in passes(project, capsys)


def test_a_file_of_weights_is_tried(project, capsys):
    (project / "w.safetensors").write_bytes(b"no weights")
    model(project, "architecture: Unet, encoder: resnet18, encoder_weights: w.safetensors")
    assert "w.safetensors" in told(project, capsys)
    alter(project / "config.yaml", ("encoder_weights: w.safetensors", "encoder_weights: none.safetensors"))
    assert f'encoder_weights "{project}/none.safetensors" not found.' in told(project, capsys)
    alter(project / "config.yaml", ("encoder_weights: none.safetensors", "start: w.safetensors"))
    assert "models.m, w.safetensors" in told(project, capsys)


def test_weights_that_cannot_be_fetched_are_told_with_their_place(project, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/cache/hub")

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("segmentation_models_pytorch.create_model", unreachable)
    monkeypatch.setattr("tilewright.check.networks.try_batch", lambda *_: None)
    monkeypatch.setattr("tilewright.training.architectures._is_built_without_weights", lambda *_: True)
    model(project, "architecture: Unet, encoder: resnet18, encoder_weights: imagenet")
    text = told(project, capsys)
    assert 'the ImageNet weights of the encoder "resnet18" cannot be downloaded (no route to host).' in text
    assert "stay in /cache/hub (HF_HOME)" in text
    assert "run `tilewright check` where there is one, such as the login node" in text


@pytest.mark.parametrize("wrong", ["tiles: tt", "tiles: [t]", "scales: 3", "folds: two", "models: m", "classes: [a]"])
def test_a_section_that_is_none_is_told_and_nothing_breaks(project, capsys, wrong):
    section = wrong.partition(":")[0]
    lines = (project / "config.yaml").read_text().splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"{section}:"))
    end = next(place for place in range(start + 1, len(lines)) if not lines[place].startswith(" "))
    (project / "config.yaml").write_text("\n".join([*lines[:start], wrong, *lines[end:]]) + "\n")
    assert f"{section}: input should be a valid dictionary" in told(project, capsys)


def test_a_tile_set_that_is_not_there_is_told_and_nothing_breaks(project, capsys):
    alter(project / "config.yaml", ("m: {tiles: t,", "m: {tiles: tx,"))
    assert 'models.m.tiles: no tile set is named "tx".' in told(project, capsys)


def test_check_takes_the_values_that_snakemake_takes(project, capsys):
    alter(project / "config.yaml", ("folds: {count: 2}", "folds: {count: 3, seed: 7}"))
    assert "folds.count is 3" in told(project, capsys)
    check("folds={count: 2}", "data=.", config=project / "config.yaml")
    assert "0 errors" in capsys.readouterr().out
    with pytest.raises(UserError):
        check("sheet=other.csv", "folds={count: 2}", config=project / "config.yaml")
    assert "other.csv: the slide sheet does not exist" in capsys.readouterr().out
    with pytest.raises(UserError) as caught:
        check("config.yaml", "=3", "folds={", config=project / "config.yaml")
    assert [problem.remedy for problem in caught.value.problems] == [
        "Name a config file by --config FILE.", "Write it as KEY=VALUE.", "Write it as KEY={a: 1} or KEY=text.",
    ]  # fmt: skip


def test_a_skipped_slide_is_as_if_its_row_were_not_there(project, capsys):
    row = "z,gone.png,gone.geojson,{role},g3,Oslo\n"
    (project / "slides.csv").write_text(SHEET + row.format(role="skip"))
    assert "2 slides readable, 1 skipped." in passes(project, capsys)
    sheet = read_project(project / "config.yaml").sheet
    assert ([row.slide for row in sheet], sheet.skipped) == (["x", "y"], ("z",))
    (project / "slides.csv").write_text(SHEET + row.format(role="train"))
    assert 'image "gone.png" not found' in told(project, capsys)
    (project / "slides.csv").write_text(SHEET.replace(",train,", ",skip,"))
    assert "all its slides have the role skip." in told(project, capsys)


def test_one_annotated_slide_is_told_how_to_divide_it(project, capsys):
    alter(project / "slides.csv", ("y,y.png,y.geojson,train,g2,Lund", "y,y.png,,test,g2,Lund"))
    text = told(project, capsys)
    assert "form 1 group(s)" in text
    assert "several rows with its image, each with a region" in text
    assert "too good for new ones" in text
    assert "Lower folds.count" not in text


def test_what_yaml_reads_otherwise_is_told_with_what_to_write(project, capsys):
    alter(project / "config.yaml", ("  a: {}", "  a b: {}\n  no: {}\n  7: {}\n  c: {labels: x}"))
    report = told(project, capsys)
    for remedy in (
        "Give it a plain name, and say what the outlines call it: a_b: {labels: [a b]}.",
        "YAML reads yes, no, on and off as truth values: put the word in quotes.",
        'YAML reads it as a number: put it in quotes, "7".',
        "Write it as a list: [x].",
    ):
        assert remedy in report


def test_a_dotted_override_is_told_in_the_form_that_snakemake_takes(project):
    with pytest.raises(UserError, match=r"folds\.count=3: names a key .*\n  Write it as 'folds=\{count: 3\}'"):
        check("folds.count=3", config=project / "config.yaml")
