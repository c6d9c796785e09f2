"""A loopback HTTP server that serves one file, or several by name, well or badly."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """What the server holds, how it behaves, and which requests it saw."""

    def __init__(self, content: bytes | dict[str, bytes]):
        self.content = content
        self.behaviour = "good"
        self.requests = []
        self.released = threading.Event()
        self.tenths = 0

    def url(self, name="archive.tar.gz"):
        return f"http://127.0.0.1:{self.port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        site = self.server.site
        site.requests.append(self.headers.get("Range"))
        behaviour = site.behaviour
        several = isinstance(site.content, dict)
        content = site.content.get(self.path.rpartition("/")[2]) if several else site.content
        if content is None:
            self.missing(site, b"", 0)
            return
        self.whole = len(content)
        if behaviour.endswith(" once"):
            site.behaviour = "good"
            behaviour = behaviour.removesuffix(" once")
        start = self._start(content) if "no range" not in behaviour else 0
        getattr(self, behaviour.split()[0])(site, content[start:], start)

    def _start(self, content):
        header = self.headers.get("Range")
        return int(header.removeprefix("bytes=").rstrip("-")) if header else 0

    def _head(self, length, start=0, status=None, kind="application/x-gzip"):
        self.send_response(status or (206 if start else 200))
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def good(self, site, body, start):
        if start >= self.whole:
            self._head(0, status=416)
            return
        self._head(len(body), start)
        self.wfile.write(body)

    def truncates(self, site, body, start):
        self._head(len(body), start)
        self.wfile.write(body[: len(body) // 3])

    def cut(self, site, body, start):
        """End the connection after `site.tenths` of what was promised."""
        self._head(len(body), start)
        self.wfile.write(body[: len(body) * site.tenths // 10])

    def drips(self, site, body, start):
        self._head(len(body), start)
        for at in range(0, len(body), 1 + len(body) // 20):
            self.wfile.write(body[at : at + 1 + len(body) // 20])
            self.wfile.flush()
            site.released.wait(0.05)

    def longer(self, site, body, start):
        """Send more than the archive holds, and say so."""
        self._head(len(body) + 1000, start)
        self.wfile.write(body + b"\0" * 1000)

    def stalls(self, site, body, start):
        self._head(len(body), start)
        self.wfile.write(body[: len(body) // 3])
        self.wfile.flush()
        site.released.wait(20)

    def silent(self, site, body, start):
        site.released.wait(20)

    def lies(self, site, body, start):
        self._head(len(body), start)
        self.wfile.write(body[:-10] + b"0123456789")

    def html(self, site, body, start):
        page = b"<html>Please log in</html>"
        self._head(len(page), kind="text/html; charset=utf-8")
        self.wfile.write(page)

    def disguised(self, site, body, start):
        page = b"<html>Please log in</html>"
        self._head(len(page))
        self.wfile.write(page)

    def missing(self, site, body, start):
        self._head(0, status=404)

    def busy(self, site, body, start):
        self._head(0, status=503)

    def loops(self, site, body, start):
        self.send_response(302)
        self.send_header("Location", site.url())
        self.end_headers()

    def huge(self, site, body, start):
        self._head(2 * 2**30)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(content: bytes | dict[str, bytes]):
    """Serve some bytes, or several files by name, on a free port of the loopback address until the block ends."""
    site = Site(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.site, server.daemon_threads = site, True
    site.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        server.server_close()
