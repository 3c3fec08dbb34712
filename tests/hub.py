"""A hub of one data set on this machine, as far as the library `datasets` asks it."""

import hashlib
import json
import re
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "c" * 40


@contextmanager
def serving_hub(folder: Path):
    """Serve the folders OWNER/NAME of a folder as data sets; yields address and requests."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer()

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(body=body)

        def answer(self, with_body=True, body=b""):
            requests.append(f"{self.command} {self.path}")
            status, data, headers = respond(folder, self.path, body, self.headers.get("Range"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(data)

        def log_message(self, *_):
            """Keep standard error for the test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()


def respond(folder, path, body, wanted):
    """Status, data and headers of an answer."""
    path = path.partition("?")[0]
    if match := re.fullmatch(r"/api/datasets/(\w+/\w+)(?:/revision/[^/]+)?", path):
        return as_json(describe(folder, match[1]))
    if match := re.fullmatch(r"/api/datasets/(\w+/\w+)/tree/[^/]+/?(.*)", path):
        return as_json(list_files(folder / match[1], match[2]))
    if match := re.fullmatch(r"/api/datasets/(\w+/\w+)/paths-info/[^/]+", path):
        paths = json.loads(body)["paths"]
        files = [entry for entry in list_files(folder / match[1]) if entry["path"] in paths]
        return as_json(files)
    if match := re.fullmatch(r"/datasets/(\w+/\w+)/resolve/[^/]+/(.+)", path):
        return send_file(folder / match[1] / match[2], wanted)
    return 404, b"{}", {"X-Error-Code": "RepoNotFound"}


def as_json(value):
    if value is None:
        return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


def describe(folder, name):
    if not (folder / name).is_dir():
        return None
    siblings = [{"rfilename": entry["path"]} for entry in list_files(folder / name)]
    return {
        "_id": "1",
        "id": name,
        "sha": COMMIT,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
    }


def list_files(folder, under=""):
    """All files below a folder, and its folders where it is not the whole."""
    entries = []
    for path in sorted((folder / under).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            entries.append({"type": "directory", "path": name, "oid": "d" * 40, "size": 0})
        else:
            oid = hashlib.sha1(path.read_bytes()).hexdigest()
            entries.append({"type": "file", "path": name, "oid": oid, "size": path.stat().st_size})
    return entries


def send_file(path, wanted):
    if not path.is_file():
        return 404, b"", {"X-Error-Code": "EntryNotFound"}
    data = path.read_bytes()
    headers = {
        "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
        "X-Repo-Commit": COMMIT,
        "Accept-Ranges": "bytes",
    }
    if wanted:
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        last = min(int(end) if end else len(data) - 1, len(data) - 1)
        headers["Content-Range"] = f"bytes {int(start)}-{last}/{len(data)}"
        return 206, data[int(start) : last + 1], headers
    return 200, data, headers


if __name__ == "__main__":
    with serving_hub(Path(sys.argv[1])) as (address, _):
        print(address, flush=True)
        sys.stdin.read()
