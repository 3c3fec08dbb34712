"""The embedded model under adapters, behind the part of OpenAI's interface that is used of it.

It answers chat completions: max_tokens, temperature, seed, and `lora`, the adapters that apply, as
llama.cpp has it: [{"id": number, "scale": strength}].
"""

import hmac
import json
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from chunkykit.models.leases import LOOPBACK, cache_folder, own_folder
from chunkykit.models.local import MAX_TOKENS, weights_digest
from chunkykit.models.openvino_engine import Answer, Engine
from chunkykit.models.openvino_files import FORMAT, openvino_folder

COMPLETIONS = "/v1/chat/completions"
MAX_BODY_BYTES = 2**20
MAX_LENGTH_DIGITS = 12  # of the length that a request says
MAX_CONNECTIONS = 256  # that wait to be taken


class OpenVINOServer:
    """A server that listens on loopback.

    Attributes:
        listening_address: its URL.
    """

    def __init__(self, key: str, weights: str, adapters: Sequence[str], threads: int):
        """Load the model and start to answer.

        Args:
            key: the key that clients must send.
            weights: the GGUF file of the model.
            adapters: the GGUF files of LoRA adapters. All are loaded and none is applied.
            threads: that compute.
        """
        path = Path(weights)
        models = cache_folder() / "openvino"
        own_folder(models)
        name = f"{path.stem}-{weights_digest(path)}-{FORMAT}"
        folder = openvino_folder(path, models / name)
        engine = Engine(folder, [Path(adapter) for adapter in adapters], threads)
        handler = type("Handler", (_Handler,), {"engine": engine, "key": key})
        http = _Listener(("127.0.0.1", 0), handler)
        self.listening_address = f"{LOOPBACK}{http.server_port}"
        threading.Thread(target=_run, args=[engine], daemon=True).start()
        threading.Thread(target=http.serve_forever, daemon=True).start()


def _run(engine: Engine) -> None:
    """Answer for ever. An engine that fails ends its process, and the client starts another."""
    try:
        engine.run()
    except BaseException:
        traceback.print_exc()
    os._exit(1)


class _Listener(ThreadingHTTPServer):
    """Takes as many connections at once as there may be calls."""

    request_queue_size = MAX_CONNECTIONS

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless the client has left, who waits for nothing then."""
        if not isinstance(sys.exception(), ConnectionError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    engine: Engine
    key: str

    def do_POST(self) -> None:
        """Answer a chat completion."""
        length = self.headers.get("Content-Length", "")
        is_known = length.isdecimal() and len(length) <= MAX_LENGTH_DIGITS
        if not is_known or int(length) > MAX_BODY_BYTES:
            self._skip(int(length) if is_known else 0)
            self.close_connection = True
            self._send(413, f"the request has no length, or one over {MAX_BODY_BYTES:,} bytes")
            return
        body = self.rfile.read(int(length))
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(sent.encode(), self.key.encode()):
            self._send(401, "the key is not that of this server")
        elif self.path != COMPLETIONS:
            self._send(404, f"there is only {COMPLETIONS}")
        else:
            self._answer(body)

    def _skip(self, n_bytes: int) -> None:
        """Read a body that is too long and keep nothing: a client listens once it has sent it."""
        while n_bytes > 0:
            part = self.rfile.read(min(n_bytes, MAX_BODY_BYTES))
            if not part:
                return
            n_bytes -= len(part)

    def _answer(self, body: bytes) -> None:
        try:
            request = json.loads(body)
            answer = self.engine.ask(
                request["messages"],
                max_tokens=request.get("max_tokens") or MAX_TOKENS,
                temperature=request.get("temperature") or 0.0,
                seed=request.get("seed") or 0,
                scales={item["id"]: item["scale"] for item in request.get("lora") or ()},
            )
        except (ValueError, KeyError, TypeError, OverflowError, RuntimeError) as error:
            self._send(400, f"{type(error).__name__}: {error}")
        else:
            self._send(200, _completion(answer))

    def _send(self, status: int, content: dict | str) -> None:
        """Send an object, or an error."""
        if isinstance(content, str):
            content = {"error": {"message": content, "code": status}}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the log is for what the engine says."""


def _completion(answer: Answer) -> dict:
    total = answer.input_tokens + answer.output_tokens
    return {
        "id": "0",
        "object": "chat.completion",
        "created": 0,
        "model": "local",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": "length" if answer.is_cut_off else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": answer.input_tokens,
            "completion_tokens": answer.output_tokens,
            "total_tokens": total,
        },
    }
