"""A local server that describes, names, judges and verifies as a language model would, by rules.

It runs in a thread, so that whole commands can be tested against it. Its sentences are those of the
offline describer in other words, so that a pair that was described offline would show.
"""

import json
import re
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers import completion, describing_prompt

from chunkykit.attributes import describe_text

STATEMENT = re.compile(r'^The (?:first|second) statement, "\w+", is about the \w+: (".*")$', re.M)
DENIAL = re.compile(r"^(\d+)\. The response.*denies", re.M)


def reword(sentence: str) -> str:
    """A sentence in the words of this model."""
    return re.sub("^The (query|response) ", r"The \1, as one sees, ", sentence)


def affirm(exchange: dict) -> str:
    """A response that says what the demo's denials deny, and opens with the same words."""
    response = exchange["response"]
    denial = re.search(r"([^:.]*) did not (?:first )?([^.]*)\.", response)
    opening = "There is an answer:" if response.startswith("There is") else ""
    return f"{opening} {denial[1].strip()} did {denial[2]}.".strip()


def read_exchange(trigger: str, crux: str, exchange: dict) -> tuple[bool, bool]:
    """Whether the describer's sentences about the exchange say trigger and crux."""
    truth = []
    for side, sentence in zip(exchange, (trigger, crux)):
        described = describe_text(exchange[side], side)
        truth.append(sentence in (*described, *map(reword, described)))
    return truth[0], truth[1]


class ReplayingModel:
    """The model behind the server.

    Attributes:
        calls: calls by role: "query", "response", "name", "crux", "verify", "rewrite".
        keys: the keys that came with the calls.
        fails: calls whose prompt holds one of these texts fail.
        verify: what it says of (trigger, crux, exchange): (bool, bool), or any text.
        name: its sentence for a list of sentences, or any text.
        rewrite: its new response for an exchange.
    """

    def __init__(self):
        self.calls = Counter()
        self.keys = set()
        self.fails = []
        self.verify = read_exchange
        self.name = lambda sentences: {"attributes": sentences[:1]}
        self.rewrite = affirm

    def refuses(self, prompt: str) -> bool:
        """Whether the call fails."""
        return any(text in prompt for text in self.fails)

    def answer(self, prompt: str) -> dict | str:
        """The answer to a prompt, as the JSON that it requests, or a text that is none."""
        if "described the response in these statements" in prompt:
            self.calls["crux"] += 1
            return {"numbers": [int(number) for number in DENIAL.findall(prompt)]}
        lines = prompt.splitlines()
        if "statements below" in prompt:
            self.calls["name"] += 1
            sentences = json.loads("".join(lines[lines.index("") + 1 :]))
            return self.name(sentences)
        if "Is the trigger true" in prompt:
            self.calls["verify"] += 1
            trigger, crux = [json.loads(text) for text in STATEMENT.findall(prompt)]
            exchange = json.loads(lines[lines.index("The exchange:") + 1])
            answer = self.verify(trigger, crux, exchange)
            if isinstance(answer, str):
                return answer
            return dict(zip(("trigger", "crux"), answer, strict=True))
        if "Write the response anew" in prompt:
            self.calls["rewrite"] += 1
            exchange = next(line for line in lines if line.startswith('{"'))
            return self.rewrite(json.loads(exchange))
        side = re.match(r"You describe one (query|response|system prompt)", prompt)[1]
        self.calls[side] += 1
        sentences = describe_text(json.loads(lines[-1]), side)
        return {"attributes": [reword(sentence) for sentence in sentences]}


@contextmanager
def replaying_server(model: ReplayingModel | None = None):
    """A running server; gives its port and its model."""
    model = model or ReplayingModel()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            prompt = describing_prompt(body["messages"])
            model.keys.add(self.headers["authorization"])
            status = 400 if model.refuses(prompt) else 200
            answer = {"error": {"message": "not this one"}}
            if status == 200:
                text = model.answer(prompt)
                answer = completion(text if isinstance(text, str) else json.dumps(text))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, model
    finally:
        server.shutdown()
        server.server_close()
