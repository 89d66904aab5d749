"""`segkit data get`, as a user meets it: in processes that are interrupted, and with messages that say what to do
next."""

import dataclasses
import json
import shlex
import signal
import subprocess
import sys
import time

import pytest
from faulty_servers import Server, answers, slows
from tiny_source import CONTENT, IMAGES, images, left, source_at

from segkit.data.download import sources

WITH_TINY = """
import json, sys
from segkit.data.download.sources import SOURCES, Source, SourceFile
fields = json.loads(sys.argv.pop(1))
SOURCES["tiny"] = Source(**fields | {"files": [SourceFile(**fields["files"][0])]})
sys.argv[0] = "segkit"
from segkit.cli.app import main
main()
"""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(CONTENT) as server:
        yield server


@pytest.fixture
def tiny(server, monkeypatch):
    """The tiny dataset, at that server, in the table."""
    monkeypatch.setitem(sources.SOURCES, "tiny", source_at(server.url))
    return sources.SOURCES["tiny"]


def started(tiny, root):
    """A process that fetches the tiny dataset."""
    fields = json.dumps(dataclasses.asdict(tiny))
    command = [sys.executable, "-c", WITH_TINY, fields, "data", "get", "tiny", "--root", str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_part(process, root, size):
    deadline = time.monotonic() + 60
    part = root / ".tiny.tar.part"
    while not part.exists() or part.stat().st_size < size:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_dataset_is_fetched_and_the_next_command_named(segkit, server, tiny, tmp_path):
    root = tmp_path / "my data"
    code, out, errors = segkit("data", "get", "tiny", "--root", root)
    assert (code, errors) == (0, "")
    assert images(root) == IMAGES
    assert left(root) == ["kit"]
    lines = out.splitlines()
    assert lines[0] == "tiny: four images. Terms: none; see http://127.0.0.1/"
    assert "tiny.tar: 50%" in lines
    assert lines[-2:] == [f"{root / 'kit' / '2012'} is complete.", f"continue with {shlex.quote(str(root))}/kit"]


def test_what_is_there_is_said_and_nothing_is_written(segkit, server, tiny, tmp_path):
    assert segkit("data", "get", "tiny", "--root", tmp_path)[0] == 0
    changed = tmp_path.stat().st_mtime_ns
    code, out, errors = segkit("data", "get", "tiny", "--root", tmp_path)
    assert (code, errors) == (0, "")
    said = f"{tmp_path / 'kit' / '2012'} is there already; nothing was downloaded."
    assert out == f"{said}\ncontinue with {tmp_path}/kit\n"
    assert len(server.seen) == 1
    assert tmp_path.stat().st_mtime_ns == changed


@pytest.mark.parametrize("arguments", [[], ["--list"], ["voc2012", "--list"]])
def test_the_datasets_are_listed_with_size_terms_and_publisher(segkit, arguments):
    code, out, errors = segkit("data", "get", *arguments)
    assert (code, errors) == (0, "")
    for source in sources.SOURCES.values():
        assert all(text in out for text in (f"{source.name} ", source.title, source.terms, source.page, source.sizes))
    assert "1,999.6 MB, unpacked" in out
    assert "size not known, unpacked 186.8 MB" in out
    assert "more than 1,419.5 MB" in out


def test_what_is_given_wrong_ends_in_one_message_and_code_2(segkit, tiny, tmp_path, read_only):
    code, out, errors = segkit("data", "get", "tinny", "--root", tmp_path)
    assert (code, out) == (2, "")
    assert errors.endswith("Did you mean 'tiny'?\n")
    code, _, errors = segkit("data", "get", "tiny", "--root", read_only / "data")
    assert code == 2
    assert errors.startswith(f"segkit: --root {read_only / 'data'}: {read_only} cannot be written")
    (tmp_path / "x.tar").write_bytes(b"x")
    code, _, errors = segkit("data", "get", "tiny", "--root", tmp_path, "--from-archive", tmp_path / "x.tar")
    assert code == 2
    assert errors.startswith(f"segkit: --from-archive {tmp_path / 'x.tar'} is not one of the files of tiny, or damag")


def test_a_network_without_the_file_ends_in_one_message_and_code_1(segkit, server, tiny, tmp_path):
    server.faults.append(answers(404))
    code, _, errors = segkit("data", "get", "tiny", "--root", tmp_path)
    assert code == 1
    assert errors == (
        f"segkit: tiny.tar cannot be downloaded: {server.url} answers 404 (Not Found). "
        "Or download it in another way and pass it with --from-archive FILE.\n"
    )
    (tmp_path / "x.tar").write_bytes(CONTENT)
    assert segkit("data", "get", "tiny", "--root", tmp_path, "--from-archive", tmp_path / "x.tar")[0] == 0
    assert images(tmp_path) == IMAGES


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_process_that_is_interrupted_is_resumed(segkit, server, tiny, tmp_path, number, code):
    server.faults.append(slows)
    process = started(tiny, tmp_path)
    wait_for_part(process, tmp_path, 300_000)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    if number != signal.SIGKILL:
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        command = f"segkit data get tiny --root {tmp_path}"
        assert errors == f"segkit: {name}: stopped; what was downloaded is kept. Resume: {command}\n"
    part = (tmp_path / ".tiny.tar.part").stat().st_size
    assert segkit("data", "get", "tiny", "--root", tmp_path)[0] == 0
    assert server.seen[1]["Range"] == f"bytes={part}-"
    assert images(tmp_path) == IMAGES
    assert left(tmp_path) == ["kit"]


def test_two_processes_do_not_fetch_one_dataset(segkit, server, tiny, tmp_path):
    server.faults.append(slows)
    process = started(tiny, tmp_path)
    wait_for_part(process, tmp_path, 1)
    code, _, errors = segkit("data", "get", "tiny", "--root", tmp_path)
    assert code == 2
    assert f"{tmp_path / 'tiny'} is in use by process {process.pid}" in errors
    process.kill()
    process.communicate()
