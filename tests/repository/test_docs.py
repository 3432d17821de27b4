import json
from pathlib import Path

import pytest
from generate import documents, generate, outdated
from pydantic import BaseModel

from tilewright.project.config import Config
from tilewright.project.rows import COLUMNS

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("path", documents(), ids=str)
def test_generated_files_say_what_the_models_say(path):
    assert (REPOSITORY / path).read_text(encoding="utf-8") == documents()[path], "run `make docs`"


def test_every_key_has_a_description():
    def keys(model):
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", field.description
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            for kind in kinds:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from keys(kind)

    assert not [key for key, description in keys(Config) if not description]


def test_the_schema_of_the_sheet_knows_its_columns():
    schema = json.loads(documents()[Path("workflow/schemas/slides.schema.json")])
    assert tuple(schema["properties"]) == COLUMNS


def test_the_check_names_every_file_that_differs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generate()
    assert outdated() == []
    Path("config/README.md").write_text("edited")
    Path("workflow/schemas/config.schema.json").unlink()
    assert {problem.where for problem in outdated()} == {
        "config/README.md",
        "workflow/schemas/config.schema.json",
    }
