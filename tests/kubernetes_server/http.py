"""The wire: HTTP/1.1 with its streams, and what can go wrong with it."""

import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from .api import ApiServer
from .objects import Json, Refusal
from .requests import Request, UnknownPath


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method whose URL contains `url`.

    They are refused, or else carried out with the connection `cut` in the midst of the answer; a
    watch may also `end` early, in good order.
    """

    times: int
    method: str = ""
    url: str = ""
    kind: Literal["refuse", "cut", "end"] = "refuse"
    refusal: Refusal | None = None
    headers: dict[str, str] = field(default_factory=dict)
    watches: bool = False

    def meets(self, request: Request) -> bool:
        return (
            self.times > 0
            and self.method in ("", request.method)
            and self.url in request.url
            and self.watches == request.watches
        )


def handler_class(
    api: ApiServer, take_fault: Callable[[Request], Fault | None], stopped: threading.Event
) -> type[BaseHTTPRequestHandler]:
    """Make the handler of an HTTP server that passes requests to `api`, until `stopped`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            request = self._request()
            fault = take_fault(request)
            try:
                if request.watches:
                    self._watch(request, fault)
                elif fault and fault.refusal:
                    self._send(fault.refusal.code, fault.refusal.body, fault.headers)
                else:
                    self._answer(request, cut=fault is not None)
            except Refusal as refusal:
                self._send(refusal.code, refusal.body)
            except UnknownPath:
                self._send(404, "404 page not found\n")
            except ConnectionError:
                self.close_connection = True  # the client has gone

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def _request(self) -> Request:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return Request(
                method=self.command,
                path=url.path,
                query=dict(parse_qsl(url.query)),
                body=json.loads(body) if body else {},
                content_type=self.headers.get("Content-Type", ""),
                token=self.headers.get("Authorization", "").partition(" ")[2] or None,
                user_agent=self.headers.get("User-Agent", ""),
            )

        def _answer(self, request: Request, cut: bool) -> None:
            status, body = api.answer(request)
            if not cut:
                self._send(status, body)
                return
            connection, self.wfile = self.wfile, io.BytesIO()
            self._send(status, body)
            answer, self.wfile = self.wfile.getvalue(), connection
            self.wfile.write(answer[: -(len(answer) // 4)])
            self.close_connection = True

        def _send(
            self, status: int, body: Json | str, headers: dict[str, str] | None = None
        ) -> None:
            plain = isinstance(body, str)
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            self.send_header(
                "Content-Type", "text/plain; charset=utf-8" if plain else "application/json"
            )
            self.send_header("Content-Length", str(len(text.encode())))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def _watch(self, request: Request, fault: Fault | None) -> None:
            events = api.watch(request)
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if fault and fault.refusal:
                self._send_chunk({"type": "ERROR", "object": fault.refusal.body})
            elif fault and fault.kind == "cut":
                return
            for event in () if fault else events:
                if event is not None:
                    self._send_chunk(event)
                if stopped.is_set():
                    return
            self.wfile.write(b"0\r\n\r\n")
            self.close_connection = False

        def _send_chunk(self, event: Json) -> None:
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the cluster keeps all requests."""

    return Handler
