"""The sentences that people read: tests name the values in them, and the words stand in tests/messages.json.

`pytest --record-messages TESTS` writes the entries of the tests that ran anew; the diff shows what users will read.
"""

import json
import re
from pathlib import Path

import pytest

MESSAGES = Path(__file__).with_name("messages.json")
SEEN = pytest.StashKey[dict[str, dict[str, dict[str, list[str]]]]]()  # file -> test -> parameters -> sentences


def pattern(value: object) -> str:
    """A regular expression for a value: 4 is not found in 14, 0.4 or 4.5, nor `crop` in `crops`."""
    text = str(value)
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return rf"(?<!\d)(?<!\d\.){re.escape(text)}(?!\d|\.\d)"
    before, after = r"(?<!\w)" * text[:1].isalnum(), r"(?!\w)" * text[-1:].isalnum()
    return f"{before}{re.escape(text)}{after}"


def template(text: str, *values: object, folder: Path | None = None) -> str:
    """Return the text with {0}, {1} ... in place of its values, and {tmp} in place of the folder."""
    names = {str(folder): "{tmp}"} if folder else {}
    for number, value in enumerate(values):
        assert re.search(pattern(value), text), f"{str(value)!r} is not named in: {text}"
        if any(map(str.isalnum, str(value))):
            names.setdefault(str(value), f"{{{number}}}")
    longest_first = sorted(names, key=len, reverse=True)
    return re.sub("|".join(map(pattern, longest_first)), lambda found: names[found[0]], text) if names else text


@pytest.fixture
def message(request, tmp_path):
    """Check a text for people: `message(text, *values)` asserts that it names every value (a key, a path, a number ...)
    and that its other words are those of tests/messages.json. The text may be an exception or a list of lines."""
    file = request.node.path.relative_to(MESSAGES.parent).as_posix()
    test, parameters = request.node.originalname, request.node.name.partition("[")[2].removesuffix("]")
    recording, seen = SEEN in request.config.stash, []
    known = json.loads(MESSAGES.read_text(encoding="utf-8")).get(file, {}).get(test, [])
    if isinstance(known, dict):
        known = known.get(parameters, known["others"])
    known = [known] if isinstance(known, str) else known

    def check(text: object, *values: object) -> None:
        text = "\n".join(text) if isinstance(text, list) else str(text)
        seen.append(template(text, *values, folder=tmp_path))
        if not recording:
            hint = f"`pytest --record-messages tests/{file}` records what {request.node.name} says; read the diff"
            assert len(known) >= len(seen), hint
            assert seen[-1] == known[len(seen) - 1], hint

    yield check
    if recording:
        request.config.stash[SEEN].setdefault(file, {}).setdefault(test, {})[parameters] = seen


def record(seen: dict[str, dict[str, dict[str, list[str]]]]) -> None:
    """Write what was seen into tests/messages.json: what most parameters of a test gave stands there once."""
    messages = json.loads(MESSAGES.read_text(encoding="utf-8")) if MESSAGES.exists() else {}
    for file, tests in seen.items():
        for test, found in tests.items():
            short = {name: texts if len(texts) > 1 else texts[0] for name, texts in found.items() if texts}
            most = max(short.values(), key=list(short.values()).count, default=[])
            differing = {name: texts for name, texts in short.items() if texts != most}
            messages.setdefault(file, {})[test] = {"others": most, **differing} if differing else most
    text = json.dumps(messages, indent=1, ensure_ascii=False, sort_keys=True)
    MESSAGES.write_text(f"{text}\n", encoding="utf-8")
