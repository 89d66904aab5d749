"""HTTP downloads with retries that resume, and leave a complete file or none."""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests
import urllib3

from segkit.data.download.sources import SourceFile
from segkit.errors import RunError
from segkit.system.files import megabytes, require_space, write_failure, write_text

TIMEOUT = (10, 30)  # seconds to wait for a connection, and for the next bytes
WAITS = (1, 2, 4, 8)  # seconds before each further attempt after failures in a row
LONGEST_WAIT = 60  # seconds, even if the server asks for more
PROGRESS = 1_000_000  # bytes; an attempt that downloads this much does not count as a failure
RETRIED = {408, 425, 429, 500, 502, 503, 504}
OTHERWISE = "Or download it in another way and pass it with --from-archive FILE."


@dataclass(frozen=True)
class Show:
    """Output for the user: `line` is called with a line of text for each step.

    `bar` is called with a description, the total bytes if known, and the bytes done before; it yields a function to
    call with the number of bytes just done.
    """

    line: Callable[[str], object] = lambda _: None
    bar: Callable[[str, int | None, int], AbstractContextManager[Callable[[int], object]]] = lambda *_: nullcontext(int)


class _Retry(Exception):
    """Failure after which to retry, after at least `wait` seconds."""

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


def download(file: SourceFile, path: Path, *, unpacked: int, show: Show) -> None:
    """Download a file to `path`, unless it exists, and check its size and checksum; a wrong file is removed.

    Until the file is complete, its first part is in `PATH.part`, and the server's version of it in `PATH.version`. Both
    stay after any failure, and the download is resumed if the server still has that version.

    Args:
        unpacked: bytes of space that must be free in addition to the file.
    Raises:
        RunError: if the file cannot be downloaded, is not the published one, or there is too little space.
    """
    part = path.with_name(f"{path.name}.part")
    reached, failures = 0, 0
    with requests.Session() as session:
        session.max_redirects = 5
        if file.url.lower().startswith("https:"):
            del session.adapters["http://"]  # forbid redirects to http
        while not path.is_file():
            try:
                _attempt(session, file, part, unpacked, show)
                part.rename(path)
                _forget(part)
                break
            except (_Retry, requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                reason, again = _reason(error)
                asked = getattr(error, "wait", 0.0)
            arrived = _resumable(part)[0]
            if arrived >= reached + PROGRESS:
                reached, failures = arrived, 0
            failures += 1
            if not again or failures > len(WAITS):
                times = f", {failures} times" if failures > 1 else ""
                kept = f" {megabytes(arrived)} of it are kept: repeat the command to resume." if arrived else ""
                raise RunError(f"{file.name} cannot be downloaded from {file.url}: {reason}{times}.{kept} {OTHERWISE}")
            wait = min(LONGEST_WAIT, max(asked, WAITS[failures - 1]))
            show.line(f"{file.name}: {reason}; next attempt in {wait:.0f} s")
            time.sleep(wait)
    if fault := file.fault(path):
        path.unlink()
        raise RunError(
            f"{file.name} from {file.url} is not what was published: {fault}. It was removed. "
            f"Repeat the command once. {OTHERWISE}"
        )


def _attempt(session: requests.Session, file: SourceFile, part: Path, unpacked: int, show: Show) -> None:
    """Download the missing rest of a file to `part`."""
    here, version = _resumable(part)
    headers = {"Accept-Encoding": "identity"}  # the checksum is of the unencoded bytes
    if here:
        headers |= {"Range": f"bytes={here}-", "If-Range": version}
    with session.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        code, headers = response.status_code, response.headers
        phrase = f" ({HTTPStatus(code).phrase})" if code in list(HTTPStatus) else ""
        if code in RETRIED:
            asked = headers.get("Retry-After", "")
            raise _Retry(f"the server answers {code}{phrase}", float(asked) if asked.isdecimal() else 0)
        rest = re.fullmatch(rf"bytes {here}-[0-9]+/([0-9]+)", headers.get("Content-Range", ""))
        if code == 416 or (code == 206 and rest is None):
            _forget(part)
            raise _Retry("the file has changed on the server since its first part arrived; it is downloaded anew")
        if code not in (200, 206):
            raise RunError(f"{file.name} cannot be downloaded: {response.url} answers {code}{phrase}. {OTHERWISE}")
        if "html" in headers.get("Content-Type", "").lower():
            raise RunError(
                f"{response.url} is a web page instead of {file.name}: a login, an error, or a page of this network. "
                f"Open it in a browser. {OTHERWISE}"
            )
        if code == 206 and rest is not None:
            size = int(rest[1])
        else:
            here, size = 0, int(headers.get("Content-Length", 0))
        most = file.size or file.largest
        if size > most or (file.size and size and size != file.size):
            raise RunError(
                f"{file.url} announces {size} bytes for {file.name}; expected {'' if file.size else 'at most '}{most}. "
                f"Nothing was downloaded. {OTHERWISE}"
            )
        size = size or file.size or 0
        require_space(part.parent, size - here + unpacked)
        if not here:
            _forget(part)
            etag = headers.get("ETag", "")
            strong = etag and not etag.startswith("W/")  # If-Range needs a strong one
            write_text(part.with_suffix(".version"), etag if strong else headers.get("Last-Modified", ""))
        done = f", of which {megabytes(here)} are here" if here else ""
        show.line(f"{file.name}: {megabytes(size) if size else 'unknown size'} from {file.url}{done}")
        try:
            with show.bar(file.name, size or None, here) as advance, part.open("ab") as target:
                for chunk in response.raw.stream(2**16, decode_content=False):
                    here += len(chunk)
                    if here > most:
                        _forget(part)
                        raise RunError(f"{file.url} sends more than {most} bytes; {file.name} was removed. {OTHERWISE}")
                    target.write(chunk)
                    advance(len(chunk))
        except BrokenPipeError:  # from printing the bar
            raise
        except OSError as error:
            raise write_failure(part, most, error) from None
    if here < size:
        raise _Retry(f"the connection ended after {megabytes(here)} of {megabytes(size)}")


def _resumable(part: Path) -> tuple[int, str]:
    """Return the number of downloaded bytes and their version on the server; (0, "") if they cannot be resumed."""
    try:
        size, version = part.stat().st_size, part.with_suffix(".version").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return 0, ""
    return (size, version) if version and version.isprintable() else (0, "")


def _forget(part: Path) -> None:
    """Remove the downloaded part of a file."""
    part.unlink(missing_ok=True)
    part.with_suffix(".version").unlink(missing_ok=True)


def _reason(error: Exception) -> tuple[str, bool]:
    """Return the reason of a failed connection in a few words, and True if a retry may succeed."""
    if isinstance(error, requests.exceptions.InvalidSchema):
        return f"a redirect leaves https or the web ({error})", False
    if isinstance(error, ValueError | requests.TooManyRedirects):  # a bad address
        return str(error).rstrip("."), False
    if isinstance(error, requests.exceptions.SSLError):
        unverified = "CERTIFICATE_VERIFY_FAILED" in str(error)
        return "its certificate cannot be verified" if unverified else "no encrypted connection", not unverified
    if isinstance(error, requests.ConnectionError):
        found = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(Failed to resolve '[^']+')", str(error))
        return f"no connection ({found[1] or found[2]})" if found else "no connection", True
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"nothing came for {TIMEOUT[1]:g} s", True
    return str(error) if isinstance(error, _Retry) else "the connection broke off", True
