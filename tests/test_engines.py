"""Engines without a model: the gold, a server with all its faults, and what is said when something is missing."""

from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace

import pytest
from chat_server import chat_server, completion

from qsql import QsqlError
from qsql.engines import Decoding, EngineSettings, Request, make_engine

REQUESTS = [Request(f"q{number}", f"question {number}", f"SELECT {number}") for number in range(12)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Attempts follow each other at once; no key and no address come from outside."""
    monkeypatch.setattr("qsql.engines.openai.LONGEST_PAUSE", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def settings(url, **changes):
    return EngineSettings(**{"engine": "openai", "model": "m", "base_url": url, "retries": 3, **changes})


def run(engine_settings, requests=REQUESTS, decoding=None):
    """All completions by position; a position must come once."""
    engine = make_engine(engine_settings)
    found = {}
    try:
        for batch in engine.generate(requests, decoding or Decoding()):
            for position, completions in batch:
                assert position not in found
                found[position] = completions
    finally:
        engine.close()
    return found


def collect(batches, found):
    """Keep what comes before an error."""
    for batch in batches:
        found.update(batch)


def echo(body):
    return completion(f"SELECT {body['messages'][-1]['content'].split()[-1]}")


def test_the_gold_engine_echoes():
    found = run(EngineSettings(engine="gold"), decoding=Decoding(samples=2, temperature=1))
    assert [found[number][0].text for number in range(12)] == [request.answer for request in REQUESTS]
    assert all(len(completions) == 2 for completions in found.values())


def test_the_gold_engine_names_a_question_without_gold():
    with pytest.raises(QsqlError, match="`q9` has no gold"):
        run(EngineSettings(engine="gold"), [*REQUESTS[:3], Request("q9", "question")])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"samples": 2}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"samples": 0}, "samples"),
    ],
)
def test_decodings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(QsqlError, match=words):
        Decoding(**changes)


@pytest.mark.parametrize("engine", ["transformers", "vllm", "openai"])
def test_a_missing_package_is_told_with_the_line_that_installs_it(engine, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    extra = {"transformers": "generate"}.get(engine, engine)
    with pytest.raises(QsqlError, match=rf"hint: pip install 'qsql-lab\[{extra}\]'$"):
        make_engine(EngineSettings(engine=engine, model="m"))


def test_an_unknown_engine_is_refused():
    with pytest.raises(QsqlError, match="transformers, vllm, openai, gold"):
        make_engine(EngineSettings(engine="oracle"))


def test_requests_carry_what_was_asked_for():
    with chat_server(lambda _, body: echo(body)) as (url, bodies):
        found = run(settings(url, system="Be brief.", engine_options={"top_k": 5}), decoding=Decoding(77))
    assert [found[number][0].text for number in range(12)] == [f"SELECT {number}" for number in range(12)]
    assert (found[0][0].tokens, found[0][0].finish_reason) == (5, "stop")
    body = next(body for body in bodies if body["messages"][1]["content"] == "question 3")
    assert body["path"] == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"], body["temperature"], body["top_k"]) == ("m", 77, 0.0, 5)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "seed" not in body
    assert "Authorization" not in body["headers"]


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with chat_server(lambda _, body: echo(body)) as (url, bodies):
        run(settings(url), REQUESTS[:1])
    assert bodies[0]["headers"]["Authorization"] == "Bearer secret"


def test_requests_go_out_side_by_side_and_no_more_than_allowed():
    together = threading.Barrier(4, timeout=30)

    def answer(_, body):
        together.wait()
        return echo(body)

    with chat_server(answer) as (url, _):
        assert len(run(settings(url, concurrency=4))) == 12


@pytest.mark.parametrize("knows_n", [True, False])
def test_samples_are_asked_for_until_all_are_there(knows_n):
    def answer(_, body):
        return completion(*[f"SELECT {body['seed']}"] * (body.get("n", 1) if knows_n else 1))

    with chat_server(answer) as (url, bodies):
        found = run(settings(url), REQUESTS[:1], Decoding(temperature=0.7, top_p=0.9, samples=3, seed=5))
    texts = [one.text for one in found[0]]
    assert texts == (["SELECT 5"] * 3 if knows_n else ["SELECT 5", "SELECT 6", "SELECT 7"])
    assert len(bodies) == (1 if knows_n else 3)
    assert (bodies[0]["n"], bodies[0]["temperature"], bodies[0]["top_p"]) == (3, 0.7, 0.9)


FAULTS = {
    "rate limit": (429, {"Retry-After": "0"}, b'{"error": "slow down"}'),
    "a date to wait for": (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b""),
    "server error": (500, {}, b"oops"),
    "overload": (503, {}, b""),
    "garbage": (200, {}, b"\xff\xfe<html>"),
    "another document": (200, {}, b'{"object": "list"}'),
    "a list": (200, {}, b"[1]"),
    "no choices": (200, {}, b'{"choices": []}'),
    "a choice without text": (200, {}, b'{"choices": [{"message": {"content": 5}}]}'),
    "half an answer": (200, {"Content-Length": "500"}, b'{"choices": [{"mess'),
    "nothing": None,
    "an empty answer": (200, {}, b""),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_may_pass_is_tried_again(fault):
    with chat_server(lambda number, body: fault if number < 2 else echo(body)) as (url, bodies):
        found = run(settings(url, concurrency=1), REQUESTS[:2])
    assert [found[number][0].text for number in range(2)] == ["SELECT 0", "SELECT 1"]
    assert len(bodies) == 4


def test_text_that_no_file_can_hold_is_mended():
    with chat_server(lambda *_: completion("SELECT '\ud800'", reason="\udfff")) as (url, _):
        found = run(settings(url), REQUESTS[:1])
    assert (found[0][0].text, found[0][0].finish_reason) == ("SELECT '\ufffd'", "\ufffd")


def test_a_defect_is_not_swallowed(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("qsql.engines.openai._completions", fail)
    with chat_server(lambda _, body: echo(body)) as (url, _), pytest.raises(ZeroDivisionError):
        run(settings(url), REQUESTS)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_does_not_pass_stops_the_run_and_keeps_what_is_finished(fault):
    def answer(_, body):
        return fault if body["messages"][-1]["content"] == "question 5" else echo(body)

    found = {}
    with chat_server(answer) as (url, bodies):
        engine = make_engine(settings(url, concurrency=1))
        batches = engine.generate(REQUESTS, Decoding())
        with pytest.raises(QsqlError, match="does not answer question `q5` after 4 attempts; the last: ") as raised:
            collect(batches, found)
        engine.close()
    assert set(found) == set(range(5))
    assert sum(body["messages"][-1]["content"] == "question 5" for body in bodies) == 4
    assert "\nhint: " in str(raised.value)


def test_silence_ends_by_the_timeout():
    silent = threading.Event()

    def answer(*_):
        silent.wait(30)

    with chat_server(answer) as (url, _):
        with pytest.raises(QsqlError, match=r"no answer within 0\.2 s"):
            run(settings(url, retries=0, request_timeout=0.2), REQUESTS[:1])
        silent.set()


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(QsqlError, match=r"`http://127\.0\.0\.1:9/v1` does not answer question `q0`.*ConnectError"):
        run(settings("http://127.0.0.1:9/v1"), REQUESTS[:1])


@pytest.mark.parametrize(("status", "hint"), [(401, "OPENAI_API_KEY"), (404, "/v1"), (400, "see what the server says")])
def test_what_will_not_pass_stops_at_once(status, hint):
    refusal = (status, {}, b'{"error": {"message": "bad thing"}}')
    message = rf"status {status}: .*bad thing.*\nhint: .*{hint}"
    with chat_server(lambda *_: refusal) as (url, bodies), pytest.raises(QsqlError, match=message):
        run(settings(url, concurrency=1))
    assert len(bodies) == 1


def test_a_prompt_that_does_not_fit_is_no_error():
    refusal = (400, {}, b'{"error": {"message": "This model\'s maximum context length is 10 tokens"}}')

    def answer(_, body):
        return refusal if body["messages"][-1]["content"] == "question 1" else echo(body)

    with chat_server(answer) as (url, _):
        found = run(settings(url), REQUESTS[:3])
    assert [found[number][0].finish_reason for number in range(3)] == ["stop", "prompt_too_long", "stop"]


@pytest.mark.parametrize("url", [None, "localhost:8000"])
def test_an_address_is_needed(url):
    with pytest.raises(QsqlError, match="http://localhost:8000/v1"):
        make_engine(settings(url))


def test_vllm_gets_the_prompts_and_the_settings(monkeypatch):
    seen = {}

    class LLM:
        def __init__(self, **options):
            seen["options"] = options

        def get_tokenizer(self):
            return SimpleNamespace(chat_template="{{ messages }}")

        def chat(self, messages, parameters, *, use_tqdm):
            seen["messages"], seen["parameters"], seen["bar"] = messages, parameters, use_tqdm
            one = SimpleNamespace(text="SELECT 1", token_ids=[1, 2], finish_reason="stop")
            return [SimpleNamespace(outputs=[one] * parameters[0].n) for _ in messages]

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams, module.__version__ = LLM, SimpleNamespace, "0"
    module.__spec__ = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "vllm", module)
    found = run(
        EngineSettings(engine="vllm", model="some/model", engine_options={"max_model_len": 4096}),
        decoding=Decoding(samples=2, temperature=0.5, seed=3),
    )
    assert [len(found[number]) for number in range(12)] == [2] * 12
    given = {"model": "some/model", "dtype": "auto", "max_model_len": 4096}
    assert seen["options"] == {**given, "trust_remote_code": False}
    assert seen["messages"][4] == [{"role": "user", "content": "question 4"}]
    assert len({parameters.seed for parameters in seen["parameters"]}) == 12


@pytest.mark.parametrize(
    "setting",
    [
        *({"concurrency": 0}, {"concurrency": -1}, {"concurrency": 5000}, {"retries": -1}, {"retries": 10**9}),
        *({"request_timeout": 0}, {"request_timeout": float("nan")}, {"request_timeout": float("inf")}),
        *({"batch_rows": 0}, {"batch_tokens": 0}, {"batch_tokens": -1}),
    ],
)
def test_settings_out_of_bounds_are_refused(setting):
    ((name, _),) = setting.items()
    with pytest.raises(QsqlError, match=f"^{name} is .*\nhint: it must be "):
        EngineSettings(**setting)
