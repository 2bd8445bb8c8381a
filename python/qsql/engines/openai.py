"""The engine that asks an OpenAI-compatible server: many requests at a time, and again where one fails.

What may pass by itself (a rate limit, an error of the server, a broken or senseless answer, silence) is tried again
with growing pauses. What will not (a wrong key, an unknown model) stops the run at once.
"""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.engines import Completion, need
from qsql.files import parse_json
from qsql.shapes import INTEGER, TEXT, ListOf, Nullable, Record
from qsql.visible import encodable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx

    from qsql.engines import Batch, Decoding, EngineSettings, Request

LONGEST_PAUSE = 60.0
"""Seconds between two attempts, at most."""
PASSING = {408, 409, 425, 429}
"""Statuses below 500 that may pass by themselves."""
TOO_LONG = ("context_length_exceeded", "maximum context length", "context length of", "prompt is too long")
"""How servers say that a prompt does not fit; their status is 400 then."""

_CHOICE = Record({"message": Record({}, {"content": Nullable(TEXT)})}, {"finish_reason": Nullable(TEXT)})
_ANSWER = Record(
    {"choices": ListOf(_CHOICE)}, {"usage": Nullable(Record({}, {"completion_tokens": Nullable(INTEGER)}))}
)


class OpenAIEngine:
    """Completes prompts at `settings.base_url`; the key comes from `OPENAI_API_KEY`."""

    def __init__(self, settings: EngineSettings) -> None:
        need("openai", "httpx")
        import httpx

        self._model = settings.model_name()
        url = settings.base_url or os.environ.get("OPENAI_BASE_URL")
        if not url:
            raise QsqlError(
                "the engine `openai` needs the address of a server\n"
                "hint: `--base-url http://localhost:8000/v1`, or set OPENAI_BASE_URL"
            )
        if not url.startswith(("http://", "https://")):
            raise QsqlError(f"`{url}` is no address of a server\nhint: it looks like `http://localhost:8000/v1`")
        if settings.concurrency < 1 or settings.retries < 0:
            raise QsqlError("concurrency must be at least 1 and retries at least 0\nhint: leave them out")
        self._settings = settings
        self._url = url.rstrip("/")
        key = os.environ.get("OPENAI_API_KEY")
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(settings.request_timeout, connect=min(10.0, settings.request_timeout)),
            limits=httpx.Limits(max_connections=settings.concurrency),
        )
        self._stopped = threading.Event()
        self._failure: Exception | None = None
        # When a server says that it has enough, that holds for all requests.
        self._quiet_until = 0.0

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Batch]:
        """Complete requests, `concurrency` at a time.

        Raises:
            QsqlError: If the server rejects a request for good, or still fails after all attempts.
        """
        self._stopped.clear()
        self._failure = None
        waiting: SimpleQueue[tuple[Future[list[Completion]], Request] | None] = SimpleQueue()
        pending: dict[Future[list[Completion]], int] = {}
        for position, request in enumerate(requests):
            future: Future[list[Completion]] = Future()
            pending[future] = position
            waiting.put((future, request))
        threads = min(self._settings.concurrency, len(requests))
        try:
            for _ in range(threads):
                # A request cannot be broken off: daemons do not keep a run that was stopped until it is answered.
                threading.Thread(target=self._work, args=(waiting, decoding), name="qsql-openai", daemon=True).start()
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                finished = [(pending.pop(future), future) for future in done]
                # Behind a failure, which `_complete` has kept, no request begins; what is under way still comes out.
                if batch := [(position, future.result()) for position, future in finished if not future.exception()]:
                    yield batch
            if self._failure is not None:
                raise self._failure
        finally:
            self._stopped.set()
            for future in pending:
                future.cancel()
            for _ in range(threads):
                waiting.put(None)

    def describe(self) -> dict[str, Any]:
        """The server, as far as it can be told from here."""
        return {"base_url": self._url}

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _work(self, waiting: SimpleQueue[tuple[Future[list[Completion]], Request] | None], decoding: Decoding) -> None:
        """What a thread does: one request after the other."""
        while (item := waiting.get()) is not None:
            future, request = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._complete(request, decoding))
            except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
                future.set_exception(error)

    def _complete(self, request: Request, decoding: Decoding) -> list[Completion]:
        """Complete one request; its failure stops all others."""
        try:
            return self._draw(request, decoding)
        except Exception as error:
            if not self._stopped.is_set():
                self._failure = error
                self._stopped.set()
            raise

    def _draw(self, request: Request, decoding: Decoding) -> list[Completion]:
        system = [{"role": "system", "content": self._settings.system}] if self._settings.system else []
        body = {
            "model": self._model,
            "messages": [*system, {"role": "user", "content": request.prompt}],
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            **self._settings.engine_options,
        }
        completions: list[Completion] = []
        # Some servers know no `n` and answer with one choice; they are asked again for the rest.
        while len(completions) < decoding.samples:
            left = decoding.samples - len(completions)
            several = {"n": left} if left > 1 else {}
            seed = {"seed": decoding.seed + len(completions)} if decoding.temperature > 0 else {}
            completions += self._ask(request, {**body, **several, **seed})[:left]
        return completions

    def _ask(self, request: Request, body: dict[str, Any]) -> list[Completion]:
        """Send a request until it is answered."""
        import httpx

        problem = ""
        for attempt in range(self._settings.retries + 1):
            if attempt:
                self._pause(attempt)
            self._stopped.wait(max(0.0, self._quiet_until - time.monotonic()))
            if self._stopped.is_set():
                raise QsqlError("the request was given up, since the run has stopped\nhint: see the error before")
            started = time.perf_counter()
            try:
                response = self._client.post(f"{self._url}/chat/completions", json=body)
            except httpx.TimeoutException:
                problem = f"no answer within {self._settings.request_timeout:g} s"
                continue
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                continue
            if response.status_code in PASSING or response.status_code >= 500:
                problem = f"status {response.status_code}{_quoted(response)}"
                self._obey(response.headers.get("retry-after"))
                continue
            if not response.is_success:
                return [self._rejected(request, response)] * body.get("n", 1)
            try:
                return _completions(response.text, time.perf_counter() - started)
            except ValueError as error:
                problem = f"an answer that is no chat completion ({error}){_quoted(response)}"
        attempts = self._settings.retries + 1
        raise QsqlError(
            f"`{self._url}` does not answer question `{request.key}` after {attempts} attempts; the last: {problem}\n"
            "hint: see to the server; what is finished is kept, and the same command goes on from there"
        )

    def _pause(self, attempt: int) -> None:
        """Wait before another attempt: twice as long each time, and not all at the same moment."""
        longest = min(LONGEST_PAUSE, 0.5 * 2 ** (attempt - 1))
        self._stopped.wait(longest * random.uniform(0.5, 1))  # noqa: S311 - no secret

    def _obey(self, retry_after: str | None) -> None:
        try:
            seconds = float(retry_after or 0)
        except ValueError:
            return  # a date; the growing pauses do as well
        self._quiet_until = max(self._quiet_until, time.monotonic() + min(seconds, LONGEST_PAUSE))

    def _rejected(self, request: Request, response: httpx.Response) -> Completion:
        """Tell what will not pass by itself: of one prompt, as its completion; of all, as an error."""
        if response.status_code in {400, 413} and any(words in response.text for words in TOO_LONG):
            return Completion("", 0, "prompt_too_long", 0.0)
        hint = {
            401: "set OPENAI_API_KEY to a key of the server",
            403: "set OPENAI_API_KEY to a key that may use the model",
            404: f"see that the address ends as the server's does, often in `/v1`, and that it has `{self._model}`",
        }.get(response.status_code, "see what the server says; what is finished is kept")
        raise QsqlError(
            f"`{self._url}` rejects question `{request.key}` with status {response.status_code}{_quoted(response)}\n"
            f"hint: {hint}"
        )


def _quoted(response: httpx.Response) -> str:
    """The start of what a server said, on one line."""
    text = " ".join(response.text.split())
    return f": {text[:200]}" if text else ""


def _completions(answer: str, seconds: float) -> list[Completion]:
    """Read an answer.

    Raises:
        ValueError: If it is no chat completion.
    """
    try:
        document = parse_json(answer, "it", "")
    except QsqlError as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    if fault := _ANSWER.fault(document):
        raise ValueError(fault)
    choices = document["choices"]
    if not choices:
        raise ValueError("it has no choices")
    tokens = (document.get("usage") or {}).get("completion_tokens") or 0
    completions = []
    for choice in choices:
        text = encodable(choice["message"].get("content") or "")
        reason = encodable(choice.get("finish_reason") or "stop")
        completions.append(Completion(text, tokens // len(choices), reason, seconds / len(choices)))
    return completions
