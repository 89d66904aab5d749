"""Files from the network: what was cut goes on, what is wrong does not stay."""

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from pathlib import Path

import requests
import urllib3

from segkit.data.download.answers import ELSEWHERE, first_and_size, followed, printable, refuse_page
from segkit.data.download.sources import SourceFile
from segkit.errors import RunError
from segkit.system.files import megabytes, require_space, write_failure, write_text

_CHUNK = 65_536
_STEP = 1_000_000  # bytes; an attempt that brought as many was no failure
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


@contextmanager
def _no_bar(_: str, __: int | None, ___: int) -> Iterator[Callable[[int], None]]:
    yield lambda count: None


@dataclass(frozen=True)
class Show:
    """What a user sees.

    Args:
        line: called with a line for each thing that is done.
        bar: called with a description, all bytes if known, and those done before; gives what to call with the number of
            bytes just done.
    """

    line: Callable[[str], object] = lambda _: None
    bar: Callable[[str, int | None, int], AbstractContextManager[Callable[[int], None]]] = _no_bar


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds.

    Args:
        connect: for a connection.
        read: for the next bytes.
        attempts: that bring nothing, in a row.
        first: before the second attempt; twice as long before each further one.
        longest: before any attempt, also if the server asks for more.
    """

    connect: float = 10
    read: float = 30
    attempts: int = 5
    first: float = 1
    longest: float = 60


class _Again(Exception):
    """Worth another attempt, after `wait` seconds or more."""

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


def download(file: SourceFile, part: Path, *, unpacked: int, show: Show, patience: Patience) -> None:
    """Brings a file to `part`, or what is missing of it there; in the end its size and checksum are right.

    What has come stays, whatever happens, with `PART.json`: address, size and version as the server named them. It is
    gone on with if the server still has that version. What is wrong is removed.

    Args:
        unpacked: bytes for which there must be space besides.
    Raises:
        RunError: if the file cannot be had, is not the one that was published, or has no space.
    """
    if not _known(part, file.url):
        forget(part)  # of no use, or a link, through which nothing may be written
    reached, failures = 0, 0
    with requests.Session() as session:
        while True:
            try:
                _Attempt(session, file, part, show, patience).run(unpacked)
                break
            except (_Again, requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason, asked = _reason(error, patience), getattr(error, "wait", 0.0)
            here = part.stat().st_size if part.exists() else 0
            if here >= reached + _STEP:
                reached, failures = here, 0
            failures += 1
            if failures >= patience.attempts:
                kept = f"{megabytes(here)} of it are kept: the same command goes on. " if here else ""
                raise RunError(
                    f"{file.name} cannot be fetched from {file.url}: {reason}, {failures} times. {kept}{ELSEWHERE}"
                )
            wait = min(patience.longest, max(asked, patience.first * 2 ** (failures - 1)))
            show.line(f"{file.name}: {reason}; again in {wait:.0f} s")
            time.sleep(wait)
    if file.digest is not None and (found := file.digest.of(part)) != file.digest.value:
        forget(part)
        raise RunError(
            f"{file.name} from {file.url} is not what was published: its {file.digest.title} is {found}; expected {file.digest.value}. "
            f"It was removed. Repeat the command, once. {ELSEWHERE}"
        )


def forget(part: Path) -> None:
    """Removes what has come of a file."""
    part.unlink(missing_ok=True)
    _record(part).unlink(missing_ok=True)


def _record(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


@dataclass(frozen=True)
class _Attempt:
    """One attempt to bring what is missing of a file."""

    session: requests.Session
    file: SourceFile
    part: Path
    show: Show
    patience: Patience

    def run(self, unpacked: int) -> None:
        file, part = self.file, self.part
        known = _known(part, file.url)
        here = part.stat().st_size if known else 0
        if known and here == known["size"]:
            return
        with self.opened(known, here) as response:
            start, size = first_and_size(response)
            found = {
                "url": file.url,
                "etag": response.headers.get("ETag"),
                "modified": response.headers.get("Last-Modified"),
                "size": size,
            }
            if start < 0 or (start and (start != here or not _same(found, known))):
                forget(part)
                raise _Again("the file has changed there since its first part came, and is fetched anew")
            chunks = response.raw.stream(_CHUNK, decode_content=False)
            first = next(chunks, b"")
            refuse_page(response, first, file.name)
            if size is not None and (size > file.most or file.size not in (None, size)):
                expected = f"at most {file.most}" if file.size is None else file.size
                raise RunError(
                    f"{file.url} announces {size} bytes for {file.name}; expected {expected}. Nothing was fetched. {ELSEWHERE}"
                )
            size = size or file.size
            require_space(part.parent, (size or 0) - start + unpacked)
            if not start:
                forget(part)
                part.touch(exist_ok=False)
                write_text(_record(part), json.dumps(found))
            done = f", of which {megabytes(start)} are here" if start else ""
            self.show.line(f"{file.name}: {megabytes(size) if size else 'unknown size'} from {file.url}{done}")
            with self.show.bar(file.name, size, start) as advance:
                self.receive(chain([first], chunks), start, advance)
        here = part.stat().st_size
        if size is not None and here < size:
            raise _Again(f"the connection ended after {megabytes(here)} of {megabytes(size)}")
        write_text(_record(part), json.dumps(found | {"size": here}))

    def opened(self, known: dict, here: int) -> requests.Response:
        """The answer with the file, or with what follows its first `here` bytes."""
        headers = {"Accept-Encoding": "identity"}  # the bytes that have the checksum, not others that mean the same
        if here:
            headers["Range"] = f"bytes={here}-"
            version = known["modified"] if (known["etag"] or "W/").startswith("W/") else known["etag"]
            headers |= {"If-Range": version} if version else {}
        response = followed(self.session, self.file, headers, (self.patience.connect, self.patience.read))
        code = response.status_code
        if code in (200, 206, 416):
            return response
        response.close()
        words = f"it answers {code} ({HTTPStatus(code).phrase if code in list(HTTPStatus) else printable(response.reason or '')})"
        if code not in _AGAIN:
            raise RunError(f"{self.file.name} cannot be fetched from {response.url}: {words}. {ELSEWHERE}")
        asked = response.headers.get("Retry-After", "")
        raise _Again(words, float(asked) if re.fullmatch("[0-9]{1,6}", asked) else 0)

    def receive(self, chunks: Iterable[bytes], start: int, advance: Callable[[int], None]) -> None:
        """Appends what comes, unbuffered, so that it is there if this process is killed."""
        here, most = start, self.file.size or self.file.most
        with open(
            self.part, "ab", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o666)
        ) as target:
            for chunk in chunks:
                here += len(chunk)
                if here > most:
                    forget(self.part)
                    raise RunError(
                        f"{self.file.url} sends more than {most} bytes; {self.file.name} was removed. {ELSEWHERE}"
                    )
                try:
                    left = memoryview(chunk)
                    while left:
                        left = left[target.write(left) :]
                except OSError as error:
                    raise write_failure(self.part, most, error) from None
                advance(len(chunk))


def _known(part: Path, url: str) -> dict:
    """What was written of a file that has come in part; empty if it cannot be gone on with."""
    try:
        known = json.loads(_record(part).read_text(encoding="utf-8"))
        here = part.lstat()
        link = not stat.S_ISREG(here.st_mode) or here.st_nlink > 1
        same = not link and known["url"] == url and known.keys() == {"url", "etag", "modified", "size"}
        return known if same and (known["size"] is None or here.st_size <= known["size"]) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _same(found: dict, known: dict) -> bool:
    """Whether two answers are of one version of a file, as far as both say."""
    return all(None in (found[key], known[key]) or found[key] == known[key] for key in found)


def _reason(error: Exception, patience: Patience) -> str:
    """What went wrong with a connection, in a few words."""
    if isinstance(error, requests.exceptions.SSLError):
        return "no encrypted connection"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {patience.connect:g} s"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"nothing came for {patience.read:g} s"
    if isinstance(error, requests.ConnectionError):
        found = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(Failed to resolve '[^']+')", str(error))
        return f"no connection ({found[1] or found[2]})" if found else "no connection"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | urllib3.exceptions.HTTPError):
        return "the connection broke off"
    return str(error)
