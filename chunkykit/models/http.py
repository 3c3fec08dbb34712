"""The HTTP client under the providers' clients: what is sent, and how much is read.

- Redirects are not followed: they could lead anywhere.
- Only the headers that a request needs are sent, unless the provider is the one that the variables
  of the environment (organization, project, custom headers) are meant for.
- A reply is read up to a bound, before and after decompression.

It uses the event hooks of httpx, so that proxies and certificates of the environment work as ever.
"""

import re
import zlib
from collections.abc import AsyncIterator
from typing import Any

MAX_REPLY_BYTES = 2**25  # of the answer to a call, before and after decompression
MAX_RESULTS_BYTES = 2**29  # of the results of a batch
ENCODINGS = "gzip, deflate"
DECOMPRESS_BYTES = 2**20  # that are decompressed at once
# Headers that a request needs, besides the key.
NEEDED_HEADERS = re.compile(
    "host|accept|accept-encoding|connection|content-type|content-length|transfer-encoding"
    "|user-agent|x-stainless-.*"
)


class ReplyTooLarge(Exception):
    """A server's reply is longer than any answer, or compressed in an unknown way."""


def http_options(key: str, is_own: bool) -> dict[str, Any]:
    """Return the arguments of a provider's default HTTP client.

    Args:
        key: the key of the requests.
        is_own: whether the variables of the environment are meant for this provider, so that its
            client adds their headers.

    Returns:
        Keyword arguments.
    """

    async def on_request(request: Any) -> None:
        request.headers["accept-encoding"] = ENCODINGS
        if is_own:
            return
        for name in list(request.headers):
            if not NEEDED_HEADERS.fullmatch(name.lower()):
                del request.headers[name]
        request.headers["authorization"] = f"Bearer {key}"

    hooks = {"request": [on_request], "response": [_bound_reply]}
    return {"follow_redirects": False, "event_hooks": hooks}


async def _bound_reply(response: Any) -> None:
    """Put a bound on what is read of a response, and decompress it within the bound."""
    limit = MAX_RESULTS_BYTES if response.request.method == "GET" else MAX_REPLY_BYTES
    encodings = response.headers.get("content-encoding", "identity").lower()
    if encodings not in ("identity", "gzip", "x-gzip", "deflate"):
        raise ReplyTooLarge(f"{response.url} compresses its reply by {encodings}, unrequested")
    if "content-encoding" in response.headers:
        del response.headers["content-encoding"]
    response.stream = _bounded_stream(response.stream, limit, encodings, str(response.url))


def _bounded_stream(stream: Any, limit: int, encoding: str, url: str) -> Any:
    """A stream of the same library, that holds at most `limit` bytes of `stream`, decoded."""
    base = next(c for c in type(stream).__mro__ if c.__name__ == "AsyncByteStream")

    class BoundedStream(base):  # type: ignore[misc, valid-type]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            decode = _Decoder(encoding)
            raw_bytes = 0
            plain_bytes = 0
            async for chunk in stream:
                raw_bytes += len(chunk)
                for plain in decode(chunk):
                    plain_bytes += len(plain)
                    if max(raw_bytes, plain_bytes) > limit:
                        raise ReplyTooLarge(f"{url} sends more than {limit // 2**20} MiB")
                    yield plain

        async def aclose(self) -> None:
            await stream.aclose()

    return BoundedStream()


class _Decoder:
    """Decompresses chunks, a bounded piece at a time."""

    def __init__(self, encoding: str):
        self._decoder: Any = None
        if encoding != "identity":
            # 32 more than the largest window: zlib finds out whether it is gzip
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def __call__(self, chunk: bytes):
        if self._decoder is None:
            yield chunk
            return
        while chunk:
            try:
                yield self._decoder.decompress(chunk, DECOMPRESS_BYTES)
            except zlib.error as error:
                raise ReplyTooLarge(f"the reply cannot be decompressed ({error})") from None
            chunk = self._decoder.unconsumed_tail
