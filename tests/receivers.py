"""Who is told: a local HTTP server for Slack and webhooks, and a local mail server."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Post:
    """One request that was posted."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class Receivers:
    """Takes what is posted and mailed; a context manager. A `status` says what posts are answered with."""

    def __init__(self, status: int = 200) -> None:
        self.posts: list[Post] = []
        self.mails: list[Message] = []
        self._servers = [_listening(_web(self.posts, status)), _listening(_mail(self.mails))]

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def web_port(self) -> int:
        """Where posts are taken."""
        return int(self._servers[0].server_address[1])

    @property
    def mail_port(self) -> int:
        """Where mail is taken."""
        return int(self._servers[1].server_address[1])


def _listening(handler: type[socketserver.BaseRequestHandler]) -> socketserver.ThreadingTCPServer:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    return server


def _web(posts: list[Post], status: int) -> type[socketserver.BaseRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posts.append(Post(self.path, dict(self.headers), json.loads(body)))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    return Handler


def _mail(mails: list[Message]) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 here")
            while line := self.rfile.readline().strip().upper():
                if line.startswith(b"EHLO"):
                    self._say("250-here\r\n250 AUTH PLAIN")
                elif line.startswith(b"AUTH"):
                    self._say("235 welcome")
                elif line == b"DATA":
                    self._say("354 go on")
                    mails.append(message_from_bytes(self._text(), policy=default))
                    self._say("250 taken")
                elif line == b"QUIT":
                    return self._say("221 bye")
                else:
                    self._say("250 ok")
            return None

        def _text(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            return b"".join(lines)

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    return Handler
