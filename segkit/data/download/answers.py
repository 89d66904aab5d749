"""What servers answer, behind redirections: nothing of it is believed, nor shown as it is."""

import re
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import requote_uri

from segkit.data.download.sources import SourceFile
from segkit.errors import RunError

_REDIRECTS = 5
_DIGITS = 18  # of a number of bytes
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml[^>]*>\s*<!doctype html)", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>\s*(.{1,200}?)\s*</title>", re.IGNORECASE | re.DOTALL)
_UNVERIFIED = "CERTIFICATE_VERIFY_FAILED"  # as Python's ssl names it
ELSEWHERE = "Fetch it otherwise, and give it as --from-archive FILE."


def followed(
    session: requests.Session, file: SourceFile, headers: dict[str, str], timeout: tuple[float, float]
) -> requests.Response:
    """The answer behind redirections.

    Args:
        timeout: seconds to wait for a connection, and for the next bytes.
    Raises:
        RunError: if they lead to what is no address, from https to http, or on and on; or a certificate cannot be
            verified.
        requests.RequestException: if a connection fails.
    """
    session.get_redirect_target = lambda resp: (
        None
    )  # requests would read a redirection's whole body, and resolve its address
    url = file.url
    for _ in range(_REDIRECTS + 1):
        try:
            response = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=timeout)
        except requests.exceptions.SSLError as error:
            if _UNVERIFIED not in str(error):
                raise
            raise RunError(
                f"{file.name} cannot be fetched from {url}: its certificate cannot be verified. {ELSEWHERE}"
            ) from None
        except ValueError as error:  # requests' and urllib3's, of an address
            raise RunError(f"{file.name} cannot be fetched from {url}: {printable(str(error))}. {ELSEWHERE}") from None
        if not response.is_redirect:
            return response
        response.close()
        url = _target(url, response)
    raise RunError(f"{file.url} leads from one address to the next, more than {_REDIRECTS} times. {ELSEWHERE}")


def _target(url: str, response: requests.Response) -> str:
    """The address that a redirection of `url` leads to."""
    location = response.headers["Location"]
    try:
        target = requote_uri(urljoin(url, location.encode("latin-1").decode()))
        scheme = urlsplit(target).scheme
    except ValueError:
        raise RunError(f"{url} leads to {printable(location)[:200]}, which is no address. {ELSEWHERE}") from None
    if scheme not in ("http", "https"):
        raise RunError(f"{url} leads to {target}; expected an address with http or https. {ELSEWHERE}")
    if scheme == "http" and urlsplit(url).scheme == "https":
        raise RunError(f"{url} leads to {target}, which is not encrypted; it was not followed. {ELSEWHERE}")
    return target


def first_and_size(response: requests.Response) -> tuple[int, int | None]:
    """First byte that an answer brings, and size of the whole file, if it says so."""
    if response.status_code == 200:
        return 0, _count(response, response.headers.get("Content-Length", ""))
    found = re.fullmatch(r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+|\*)", response.headers.get("Content-Range", ""))
    start = _count(response, found[1] or "") if found else None
    return (-1, None) if found is None or start is None else (start, _count(response, found[2]))


def _count(response: requests.Response, text: str) -> int | None:
    """A number of bytes, if it is one."""
    if not re.fullmatch("[0-9]+", text):
        return None
    if len(text) > _DIGITS:
        raise RunError(
            f"{response.url} announces a number of bytes with {len(text)} digits; expected at most {_DIGITS}. {ELSEWHERE}"
        )
    return int(text)


def refuse_page(response: requests.Response, begin: bytes, name: str) -> None:
    """Raises RunError if what comes is a web page: by its type, or by how it begins."""
    if "html" not in response.headers.get("Content-Type", "").lower() and not _PAGE.match(begin):
        return
    title = _TITLE.search(begin)
    words = printable(" ".join(title[1].decode("utf-8", "replace").split()))[:80] if title else ""
    shown = f" ('{words}')" if words else ""
    raise RunError(
        f"{response.url} answers with a web page{shown} instead of {name}: a login, an error, or a page of the "
        f"network here. Open it in a browser. {ELSEWHERE}"
    )


def printable(text: str) -> str:
    """What a server sent, without what would steer a terminal."""
    return "".join(character for character in text if character.isprintable())
