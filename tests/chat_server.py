"""A chat server in a thread, for tests of commands, which run an event loop of their own."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def error_body(message):
    return {"error": {"message": message, "type": "invalid_request_error"}}


def completion(text):
    """The JSON of a chat completion."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
    }


@contextmanager
def chat_server(answer):
    """Serve while the context lasts; gives (address, the bodies of the requests so far).

    answer(body) returns a text, or (status, JSON) for anything else.
    """
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            result = answer(body)
            status, value = (200, completion(result)) if isinstance(result, str) else result
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
