"""A proxy before a time-series server that misbehaves as it is told: slow, refusing, cutting answers off."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"
Fault = Callable[[str, bytes], "int | str | None"]
"""Path and body of a request → None: it passes; a status: it is the answer; "hang": nothing comes, for 30 s
or until it is healed; "cut": it passes, and the answer breaks off."""


class HttpProxy:
    """Before the server at a port of this machine, from threads of its own. `asked` counts what it saw."""

    def __init__(self, to: int) -> None:
        self.to, self.fault = to, _passes
        self.asked = self.hurt = 0
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"victoria://{HOST}:{self.port}"

    def heal(self) -> None:
        """Everything passes again."""
        self.fault = _passes

    def close(self) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _passes(_: str, __: bytes) -> None:
    return None


def writes(answer: int | str, when: bytes = b"") -> Fault:
    """A fault of writes only; of those whose body has something in it."""

    def fault(path: str, body: bytes) -> int | str | None:
        return answer if "/write" in path and when in body else None

    return fault


def everything(answer: int | str) -> Fault:
    """A fault of every request."""
    return lambda _, __: answer


def _handler(proxy: HttpProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, *_: object) -> None: ...

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.asked += 1
            fault = proxy.fault(self.path, body)
            proxy.hurt += fault is not None
            if isinstance(fault, int):
                self._answer(fault, b"no, says the proxy", {})
                return
            if fault == "hang":
                began, here = time.monotonic(), proxy.fault
                while proxy.fault is here and time.monotonic() - began < 30:
                    time.sleep(0.05)
                self.close_connection = True
                return
            try:
                status, data, headers = self._ask(body)
            except OSError:
                self.close_connection = True  # as if the server itself was gone
                return
            if fault == "cut":
                self.wfile.write(f"HTTP/1.1 {status} OK\r\nContent-Le".encode())
                self.close_connection = True
                return
            self._answer(status, data, headers)

        def _ask(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
            server = http.client.HTTPConnection(HOST, proxy.to, timeout=20)
            headers = {name: value for name, value in self.headers.items() if name != "Accept-Encoding"}
            try:
                server.request(self.command, self.path, body, headers)
                answer = server.getresponse()
                return answer.status, answer.read(), {"X-From": "server"}
            except http.client.HTTPException as error:
                raise OSError(str(error)) from error
            finally:
                server.close()

        def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if status != 204:
                self.wfile.write(data)

    return Handler
