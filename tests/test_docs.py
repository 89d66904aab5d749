"""The commands, files and components that the documentation shows exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from segkit.build import TABLES
from segkit.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def test_every_example_is_a_part_of_the_page_about_extending():
    shown = re.findall(r'--8<-- "(.*)"', (ROOT / "docs/extending.md").read_text())
    assert sorted(shown) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs/examples").glob("*.py"))


def commands():
    """(page, words) of each command line of segkit that a page shows."""
    for page in PAGES:
        for line in re.findall(r"^    (?:.* -- )?segkit (.*)$", page.read_text(), re.MULTILINE):
            yield pytest.param(shlex.split(line, comments=True), id=f"{page.stem}: {line[:50]}")


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_that_a_page_shows_has_these_options(words):
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        word = next(each for each in words if not each.startswith("--"))
        words = words[words.index(word) + 1 :]
        command = command.commands[word]
    options = {each for each in words if each.startswith("--")}
    assert options <= {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page):
    path = r"(?<![\w./])(?:configs|experiments|segkit|tests|notebooks)/[\w./-]*\w(?![*\w])"
    places = re.findall(path, page.read_text())
    assert [place for place in places if "NAME" not in place and not (ROOT / place).exists()] == []


def test_the_list_of_components_is_complete():
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs/configs.md").read_text()))
    assert {name for table in TABLES.values() for name in table} - named == set()
