"""A server on loopback with the file layout of the hub, for one data set; it can break connections off."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TIME = "Thu, 01 Jan 2026 00:00:00 GMT"


class HubServer:
    """Serves files of the data set `name`; `requests` are what was asked for, with its range."""

    def __init__(self, name, files, *, break_after=None, breaks=0):
        self.name = name
        self.files = files
        self.break_after = break_after
        self.breaks = breaks
        self.requests = []
        handler = type("HubHandler", (Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def info(self):
        siblings = [{"rfilename": name, "size": len(content)} for name, content in self.files.items()]
        return {
            "_id": "1",
            "id": self.name,
            "author": "someone",
            "sha": COMMIT,
            "private": False,
            "disabled": False,
            "gated": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
            "createdAt": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z",
        }

    def tree(self):
        return [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324
            for name, content in self.files.items()
        ]


class Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.respond(with_body=False)

    def do_GET(self):
        self.respond(with_body=True)

    def respond(self, *, with_body):
        path = self.path.split("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        api = f"/api/datasets/{self.hub.name}"
        if path.startswith(f"{api}/tree/"):
            self.send(json.dumps(self.hub.tree()).encode(), "application/json", with_body=with_body)
        elif path == api or path.startswith(f"{api}/revision/"):
            self.send(json.dumps(self.hub.info()).encode(), "application/json", with_body=with_body)
        elif path.startswith(f"/datasets/{self.hub.name}/resolve/"):
            name = path.split("/resolve/")[1].split("/", 1)[1]
            self.send_file(name, with_body=with_body)
        else:
            self.refuse("RepoNotFound" if "/datasets/" in path else "EntryNotFound")

    def refuse(self, code):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, body, kind, *, with_body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def send_file(self, name, *, with_body):
        if name not in self.hub.files:
            self.refuse("EntryNotFound")
            return
        content = self.hub.files[name]
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')  # noqa: S324
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Last-Modified", TIME)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body:
            return
        if self.hub.breaks and self.hub.break_after is not None and len(body) > self.hub.break_after:
            self.hub.breaks -= 1
            self.wfile.write(body[: self.hub.break_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(body)
