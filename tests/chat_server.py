"""A server on the loopback that answers chat completions, or whatever a test scripts."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(*texts, tokens=5, reason="stop"):
    """A document of the chat completions API."""
    choices = [
        {"index": number, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        for number, text in enumerate(texts)
    ]
    return {"choices": choices, "usage": {"completion_tokens": tokens * len(texts)}}


@contextmanager
def chat_server(answer):
    """Serve; yields its address and the list of the requests that it got.

    `answer` gets the number of a request, from 0, and its body. It returns a document, or (status, headers, bytes), or
    None for a line that is closed without a word; a header `Content-Length` larger than the bytes makes half an answer.
    """
    bodies, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(bodies)
                bodies.append({"path": self.path, "headers": dict(self.headers), **body})
            reply = answer(number, body)
            if reply is None:
                self.close_connection = True
                return
            status, headers, content = reply if isinstance(reply, tuple) else (200, {}, json.dumps(reply).encode())
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = "Content-Length" in headers

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", bodies
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def answers(texts):
    """Serve answers, one after the other and the last one for ever; yields the address."""
    with chat_server(lambda number, _: completion(texts[min(number, len(texts) - 1)])) as (url, _):
        yield url
