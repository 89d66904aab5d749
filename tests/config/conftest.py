"""A folder with a config."""

from pathlib import Path

import pytest
from base_config import BASE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(BASE)
    return tmp_path
