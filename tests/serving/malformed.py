"""Requests as nobody should send them, as bytes for a connection; the same ones for the same seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.serving.released import MODEL, ROW, tensors

PATHS = ("/invocations", f"/models/{MODEL}/invocations", f"/v2/models/{MODEL}/infer")
ODD_VALUES: list[Any] = [
    None, True, -1, 2**63, 2**64, 10**400, 1e308, -0.0, "", "x" * 5_000, "\x00", "\ud800", "é☃", "NaN",
    "2013-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", [], [[]], {},
    {"": None},
]  # fmt: skip
ODD_TEXTS = [
    b"NaN", b"-Infinity", b"1e999", b"-1e-999", b"9" * 4_000, b"0x10", b"01", b"+1", b"'a'", b"\xff",
    b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\u00"', b"[" * 3_000, b"[" * 500 + b"]" * 500,
    b'{"a":' * 900 + b"1" + b"}" * 900, b"", b"//", b"\x00",
]  # fmt: skip
TARGETS = [
    "*", "", "invocations", "//invocations", "/../invocations", "/%2e%2e/invocations", "/invocations%00",
    "/invocations/", "/invocations;a=b", "/invocations?model=%ff", "/invocations?model=a&model=b",
    "/invocations?" + "a=b&" * 3_000, "/" + "a" * 30_000, "/v2/models/%2e%2e%2fetc%2fpasswd/infer",
    "/v2/models//infer", "/v2/models/%0d%0aX:y/infer", f"/v2/models/{MODEL}/versions/%C3%28/infer",
    f"/v2/models/{MODEL}/infer?version=%00", "http://[::1/invocations", "http://elsewhere/invocations",
    "/invocations#a", "/\u00e9", "/invocations HTTP/1.1 x", "/%zz", "/docs/../metrics",
    "/models/\x7f/invocations", "/admin/flush/..", "/openapi.json%20", "/nowhere?\xff",
    "/invocations/?\xff",
]  # fmt: skip
METHODS = [
    "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "CONNECT", "post", "P\x00ST", "QUERY",
    "A" * 300,
]  # fmt: skip
HEADERS = [
    "Content-Type: text/csv", "Content-Type: multipart/form-data; boundary=x", "Content-Type: \xff",
    "Content-Type: ;;;", "Content-Encoding: gzip", "Content-Encoding: identity, gzip",
    "Inference-Header-Content-Length: 9", "X-Request-Id: \xe9", "X-Request-Id: " + "a" * 300,
    "X-Request-Id: a b", "X-Request-Id:", "X-Model: \xff", "X-Model:", "X-Forwarded-For: [::1",
    "X-Forwarded-For: ,,,", "X-Forwarded-Proto: \x01", "Expect: 100-continue", "Expect: x",
    "Connection: upgrade\r\nUpgrade: websocket", "Connection: upgrade\r\nUpgrade: h2c",
    "Authorization: Bearer \xff", "Content-Length: 3", "Content-Length: -1", "Content-Length: 1_0",
    "Content-Length: 99999999999999999999999", "Content-Length: 10485760", "Content-Length: 10485761",
    "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: x", "No colon",
    ": no name", "Space : x", " folded: x", "Nul: \x00", "Bare\rreturn: x", "Long: " + "x" * 100_000,
    "\r\n".join(f"Many-{number}: x" for number in range(2_000)),
    "Host: a\r\nHost: b", "Host: [", "Host: \xff", "Host: a/b?c@d",
]  # fmt: skip
CHUNKS = [
    b"zz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"5\r\nab", b"1\r\nab\r\n0\r\n\r\n",
    b"5;" + b"x" * 9_000 + b"\r\nhello\r\n", b"1\r\n{\r\n0\r\nTrailer: " + b"x" * 9_000 + b"\r\n\r\n",
    b"1\r\n{\r\n" * 500 + b"0\r\n\r\n", b"0\r\n\r\n", b"a00001\r\n",
]  # fmt: skip
GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 2_000,
    b"\x00" * 5_000,
]  # fmt: skip


@dataclass(frozen=True)
class Malformed:
    """What is sent on a connection."""

    content: bytes
    is_whole: bool
    """Whether a server can know that nothing more comes."""


def requests(count: int, seed: int) -> list[Malformed]:
    """So many requests, of all kinds mixed."""
    draw = Random(seed)
    whole = [_changed_body] * 4 + [_odd_value] * 4 + [_odd_text] * 2 + [_odd_target, _odd_method]
    whole += [_odd_id]
    others = [_odd_header, _odd_header, _odd_chunks, _cut, _garbage, _in_a_row]
    kinds = [draw.choice(whole + others) for _ in range(count)]
    return [Malformed(kind(draw), kind in whole) for kind in kinds]


def _request(
    body: bytes,
    path: str,
    method: str = "POST",
    *headers: str,
    size: int | None = None,
    host: str = "localhost",
) -> bytes:
    length = (
        [] if any("Length: " in header for header in headers) else [f"Content-Length: {size or len(body)}"]
    )
    if any("Transfer-" in header for header in headers):
        length = []
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *length, *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _good(draw: Random) -> tuple[dict[str, Any], str]:
    path = draw.choice(PATHS)
    form = draw.choice(("dataframe_records", "instances", "inputs"))
    return (tensors() if path.endswith("infer") else {form: [dict(ROW)]}), path


def _good_request(draw: Random) -> bytes:
    body, path = _good(draw)
    return _request(json.dumps(body).encode(), path)


def _changed_body(draw: Random) -> bytes:
    body, path = _good(draw)
    text = bytearray(json.dumps(body).encode())
    for _ in range(draw.randint(1, 3)):
        text[draw.randrange(len(text))] = draw.choice(b'\x00\x80\xff"{}[],:\\e-09')
    return _request(bytes(text), path)


def _odd_value(draw: Random) -> bytes:
    body, path = _good(draw)
    place: Any = draw.choice([body, next(iter(body.values()))[0], draw.choice(next(iter(body.values())))])
    place[draw.choice([*place, "id", "outputs", "flight_id", "data"])] = draw.choice(ODD_VALUES)
    return _request(json.dumps(body).encode(), path)


def _odd_id(draw: Random) -> bytes:
    """A good request whose own id may fit in no header."""
    odd = "".join(draw.choices("a \r\n\0\x7fé☃😀", k=draw.randint(1, 6)))
    return _request(json.dumps({**tensors(), "id": odd}).encode(), PATHS[-1])


def _odd_text(draw: Random) -> bytes:
    """Odd JSON instead of a value, as a key a second time, or for the whole body."""
    body, path = _good(draw)
    text, odd = json.dumps(body).encode(), draw.choice(ODD_TEXTS)
    before, _, after = text.rpartition(b": ")
    whole = [
        before + b": " + odd + after[-3:],
        text[:-1] + b', "inputs": ' + odd + b"}",
        odd,
        b"\xef\xbb\xbf" + text,
    ]
    return _request(draw.choice(whole), path)


def _odd_header(draw: Random) -> bytes:
    body, path = _good(draw)
    return _request(json.dumps(body).encode(), path, "POST", *draw.sample(HEADERS, draw.randint(1, 2)))


def _odd_target(draw: Random) -> bytes:
    host = draw.choice(("localhost", "[", "", "a@b:c", "\xff"))
    return _request(b"{}", draw.choice(TARGETS), draw.choice(("GET", "POST")), host=host)


def _odd_method(draw: Random) -> bytes:
    return _request(b"{}", draw.choice((*PATHS, "/metrics", "/v2", "/admin/flush")), draw.choice(METHODS))


def _odd_chunks(draw: Random) -> bytes:
    chunks = b"".join(draw.choices(CHUNKS, k=draw.randint(1, 3)))
    return _request(chunks, draw.choice(PATHS), "POST", "Transfer-Encoding: chunked")


def _cut(draw: Random) -> bytes:
    """A request that ends too soon, or a body shorter or longer than was said."""
    whole = _good_request(draw)
    lies = _request(b'{"instances": [', draw.choice(PATHS), size=draw.choice((1, 16, 70_000, 10 << 20)))
    return draw.choice([whole[: draw.randrange(1, len(whole))], lies])


def _garbage(draw: Random) -> bytes:
    return draw.choice([draw.randbytes(draw.randint(1, 3_000)), draw.choice(GARBAGE)])


def _in_a_row(draw: Random) -> bytes:
    kinds: list[Callable[[Random], bytes]] = [_good_request, _changed_body, _garbage, _cut]
    kept = [
        draw.choice(kinds)(draw).replace(b"Connection: close\r\n", b"") for _ in range(draw.randint(2, 12))
    ]
    return b"".join(kept)
