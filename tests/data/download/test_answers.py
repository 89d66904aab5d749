"""What a server answers is not believed: redirections, certificates, sizes, pages; and what is shown of it cannot steer
a terminal."""

import shutil
import ssl
import subprocess
from functools import partial

import pytest
from faulty_servers import LOGIN, answers, login, truncates
from tiny_source import IMAGES, QUICK, failure, images, source_at

from segkit.data.download.fetch import fetch
from segkit.data.download.http import Show
from segkit.errors import RunError


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_page_instead_of_the_file_is_named_and_costs_nothing(serve, tmp_path, kind):
    server = serve(truncates(300_000), *[answers(500)] * 2)
    failure(source_at(server.url), tmp_path)
    part = (tmp_path / ".tiny.tar.part").read_bytes()
    server.faults.extend([partial(login, kind=kind)] * 2)
    message = failure(source_at(server.url), tmp_path)
    assert (tmp_path / ".tiny.tar.part").read_bytes() == part
    address = server.url.replace("tiny.tar", "login")
    assert message.startswith(
        f"{address} answers with a web page ('Hotel Wi-Fi') instead of tiny.tar: a login, an error, or a page of"
    )
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert images(tmp_path) == IMAGES


def test_redirections_are_followed_but_not_for_ever_nor_anywhere(serve, tmp_path):
    server = serve()
    server.faults.append(answers(301, Location="/elsewhere"))
    fetch(source_at(server.url), tmp_path / "1", patience=QUICK)
    assert [request["path"] for request in server.seen] == ["/tiny.tar", "/elsewhere"]
    server.faults.extend([answers(302, Location="/tiny.tar")] * 9)
    assert "leads from one address to the next, more than 5 times" in failure(source_at(server.url), tmp_path / "2")
    server.faults.clear()
    server.faults.append(answers(302, Location="file:///etc/passwd"))
    message = failure(source_at(server.url), tmp_path / "3")
    assert "leads to file:///etc/passwd; expected an address with http or https" in message


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_https_is_neither_unverified_nor_left(serve, tmp_path, monkeypatch):
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    subprocess.run(["openssl", "req", "-x509", *key, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    plain, safe = serve(), serve()
    safe.socket = context.wrap_socket(safe.socket, server_side=True)
    url = safe.url.replace("http://127.0.0.1", "https://localhost")
    lines = []
    with pytest.raises(
        RunError, match=f"tiny.tar cannot be fetched from {url}: its certificate cannot be verified. Fetch it otherwise"
    ):
        fetch(source_at(url), tmp_path / "1", show=Show(lines.append), patience=QUICK)
    assert lines == []  # once: it would not change
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate"))
    for scheme in ("http", "HTTP"):
        target = plain.url.replace("http", scheme)
        for start in (url, url.replace("https", "HTTPS")):
            safe.faults.append(answers(302, Location=target))
            assert f"{start} leads to {target}, which is not encrypted; it was not followed." in failure(
                source_at(start), tmp_path / "2"
            )
    assert plain.seen == []
    fetch(source_at(url), tmp_path / "3", patience=QUICK)
    assert images(tmp_path / "3") == IMAGES


def test_a_connection_that_is_not_encrypted_where_it_should_be_is_tried_again(serve, tmp_path):
    server = serve()
    assert "no encrypted connection, 3 times. Fetch" in failure(
        source_at(server.url.replace("http", "https")), tmp_path
    )


@pytest.mark.parametrize(("location", "words"), [
    ("http://[::1", "leads to http://[::1, which is no address. Fetch it otherwise"),
    ("http://[::1\x1b[31m", "leads to http://[::1[31m, which is no address. Fetch it otherwise"),
    ("/\xff", "leads to /\xff, which is no address. Fetch it otherwise"),
    ("http://x:1x/", "tiny.tar cannot be fetched from http://x:1x/: "),
    ("file:///\x1b[31m", "leads to file:///%1B[31m; expected an address with http or https"),
])  # fmt: skip
def test_a_redirection_to_what_is_no_address_ends_it_at_once(serve, tmp_path, location, words):
    server = serve(answers(302, Location=location))
    message = failure(source_at(server.url), tmp_path)
    assert words in message
    assert message.isprintable()
    assert len(server.seen) == 1


def test_a_redirection_is_not_waited_for(serve, tmp_path):
    def leads_on(handler):
        handler.begin(302, Location="/elsewhere")
        handler.send(bytes(40_000_000))

    server = serve(leads_on)
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert server.sent < 20_000_000
    assert images(tmp_path) == IMAGES


@pytest.mark.parametrize(("code", "headers"), [
    (200, {"Content_Length": "9" * 5000}),
    (206, {"Content_Range": f"bytes 300000-300001/{'9' * 5000}"}),
    (206, {"Content_Range": f"bytes {'9' * 5000}-{'9' * 5000}/*"}),
])  # fmt: skip
def test_a_size_of_5000_digits_ends_it_at_once_and_what_is_here_stays(serve, tmp_path, code, headers):
    server = serve(truncates(300_000), lambda handler: handler.begin(code, **headers))
    message = failure(source_at(server.url), tmp_path)
    assert message.startswith(f"{server.url} announces a number of bytes with 5000 digits; expected at most 18.")
    assert len(server.seen) == 2
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert "Range" in server.seen[2]
    assert images(tmp_path) == IMAGES


def test_what_a_server_sends_cannot_steer_the_terminal(serve, tmp_path):
    def reason(handler):
        handler.wfile.write("HTTP/1.1 299 \x1b[31mWell\x9b1m\x07\r\n\r\n".encode("latin-1"))

    server = serve(reason)
    message = failure(source_at(server.url), tmp_path)
    assert "it answers 299 ([31mWell1m). Fetch" in message
    assert message.isprintable()
    page = LOGIN.replace(b"Hotel", "\x1b]0;Hotel\x07\u202e".encode())
    server.faults.extend([partial(login, page=page)] * 2)
    message = failure(source_at(server.url), tmp_path)
    assert "a web page (']0;Hotel Wi-Fi') instead" in message
    assert message.isprintable()
