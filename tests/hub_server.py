"""A server on loopback with the file layout of the hub, for one repository; it can break connections off, and lie."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TIME = "Thu, 01 Jan 2026 00:00:00 GMT"


def blob_id(content):
    """SHA-1 of a Git blob."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()  # noqa: S324


class HubServer:
    """Serves files of the repository `name`, by default a data set.

    `requests` are what was asked for, with its range; `tokens` are what came along to tell who asks. Names in `lfs` are
    kept apart from Git, as large files are. What a hostile one does: `commit` is what it says that the revision is,
    `tree` has entries that are listed besides, or in the place of those with the same path; `served` are contents that
    differ from what is listed, `headers` are put over those of a file, `redirects` tell where a file is to be fetched,
    and a file in `endless` never ends.
    """

    def __init__(self, name, files, *, break_after=None, breaks=0, kind="dataset", **hostile):
        self.name = name
        self.files = files
        self.kind = kind
        self.break_after = break_after
        self.breaks = breaks
        self.requests = []
        self.tokens = []
        self.lfs = hostile.pop("lfs", ())
        self.commit = hostile.pop("commit", COMMIT)
        self.more = hostile.pop("tree", [])
        self.served = hostile.pop("served", {})
        self.headers = hostile.pop("headers", {})
        self.redirects = hostile.pop("redirects", {})
        self.endless = hostile.pop("endless", ())
        assert not hostile
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
            "sha": self.commit,
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
        others = {entry["path"] for entry in self.more}
        return [self.entry(name, content) for name, content in self.files.items() if name not in others] + self.more

    def entry(self, name, content):
        """What the tree has of a file."""
        if name not in self.lfs:
            return {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)}
        digest = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()
        lfs = {"oid": digest, "size": len(content), "pointerSize": len(pointer)}
        return {"type": "file", "path": name, "size": len(content), "oid": blob_id(pointer), "lfs": lfs}


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
        path = unquote(self.path.split("?")[0])
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        self.hub.tokens += self.headers.get_all("Authorization", [])
        api = f"/api/{self.hub.kind}s/{self.hub.name}"
        resolve = f"/{'datasets/' if self.hub.kind == 'dataset' else ''}{self.hub.name}/resolve/"
        if path.startswith(f"{api}/tree/"):
            self.send(json.dumps(self.hub.tree()).encode(), "application/json", with_body=with_body)
        elif path == api or path.startswith(f"{api}/revision/"):
            self.send(json.dumps(self.hub.info()).encode(), "application/json", with_body=with_body)
        elif path.startswith(resolve):
            self.send_file(path.removeprefix(resolve).split("/", 1)[1], with_body=with_body)
        else:
            self.refuse("RepoNotFound" if self.hub.name not in path else "EntryNotFound")

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
        if name in self.hub.redirects:
            self.send_response(302)
            self.send_header("Location", self.hub.redirects[name])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if name not in self.hub.files:
            self.refuse("EntryNotFound")
            return
        content = self.hub.served.get(name, self.hub.files[name])
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        body = content[start:]
        self.send_response(206 if start else 200)
        headers = {
            "ETag": f'"{blob_id(content)}"',
            "X-Repo-Commit": self.hub.commit,
            "Accept-Ranges": "bytes",
            "Last-Modified": TIME,
            **({"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}),
            "Content-Length": str(1 << 40 if name in self.hub.endless else len(body)),
            **self.hub.headers.get(name, {}),
        }
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        if not with_body:
            return
        if name in self.hub.endless:
            self.send_endlessly(body)
            return
        if self.hub.breaks and self.hub.break_after is not None and len(body) > self.hub.break_after:
            self.hub.breaks -= 1
            self.wfile.write(body[: self.hub.break_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(body)

    def send_endlessly(self, body):
        self.close_connection = True
        try:
            self.wfile.write(body)
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            return
