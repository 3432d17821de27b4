"""Folders as competitions gave them."""

import pytest
from sheeting import kidney_folder, vasculature_folder


@pytest.fixture
def kidney(tmp_path):
    return kidney_folder(tmp_path)


@pytest.fixture
def vasculature(tmp_path):
    return vasculature_folder(tmp_path)
