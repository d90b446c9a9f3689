"""Print what the practice server costs beside its bare engine: `python benchmarks/practice_server.py`.

Start to first token; tokens per second over HTTP and in process, in turn; one and eight clients at once; how soon the
slot is free when a client leaves; memory, also over many short requests (--requests). Greedy decoding, one engine
thread; each figure is a median of --rounds.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

from gptoss_lab.practice import process
from gptoss_lab.tiny import MODEL_NAME, MODEL_PATH

STORY = [{"role": "user", "content": "Tell me a long story."}]
OPTIONS = {"temperature": 0, "num_predict": 256}
CLIENTS = 8
HTTP = httpx.Client(trust_env=False, timeout=None)  # made once: it takes longer than a short answer


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=10_000, help="short requests for the memory figure")
    options = parser.parse_args()
    for parallel in (1, CLIENTS):
        with server(parallel) as running:
            print(f"\nOLLAMA_NUM_PARALLEL={parallel}")
            first_token(running)
            if parallel == 1:
                against_bare(running, options.rounds)
            clients(running, options.rounds)
            if parallel == 1:
                leaving(running, options.rounds)
                memory(running, options.requests)


@contextmanager
def server(parallel: int) -> Iterator[process.Running]:
    """Run a practice server of its own in a new home, and say how long its start took."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        os.environ |= {"GPTOSS_LAB_HOME": folder, "OLLAMA_NUM_PARALLEL": str(parallel)}
        begun_s = time.perf_counter()
        running = process.ensure().server
        print(f"start of the process until it answers: {time.perf_counter() - begun_s:.2f} s")
        try:
            yield running
        finally:
            process.stop()
            process.release()


def first_token(running: process.Running) -> None:
    """Print the time to the first token, model not loaded and loaded."""
    cold, warm = ask(running, "Hello", 8), ask(running, "Hello", 8)
    print(f"request to first token: model not loaded {cold[0]:.3f} s, loaded {warm[0]:.3f} s")


def against_bare(running: process.Running, rounds: int) -> None:
    """Print tokens per second over HTTP and in process, in turn, and the ratio."""
    bare = load_bare()
    pairs = [(story_tok_s(running), bare_tok_s(bare)) for _ in range(rounds + 1)][1:]
    over_http, in_process = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(http / engine for http, engine in pairs)
    print(f"tokens/s: HTTP {over_http:.0f}, engine in process {in_process:.0f}, ratio {ratio:.2f} ({rounds} pairs)")


def clients(running: process.Running, rounds: int) -> None:
    """Print what one and several clients at once get."""
    for count in (1, CLIENTS):
        sums, firsts = [], []
        for _ in range(max(1, rounds // 2)):
            begun_s = time.perf_counter()
            with ThreadPoolExecutor(count) as pool:
                answers = list(pool.map(lambda _: ask(running, STORY[0]["content"], 256), range(count)))
            sums.append(sum(tokens for _, tokens in answers) / (time.perf_counter() - begun_s))
            firsts += [first_s for first_s, _ in answers]
        wait = f"first token median {statistics.median(firsts):.3f} s, worst {max(firsts):.3f} s"
        print(f"{count} client(s) at once: {statistics.median(sums):.0f} tokens/s together; {wait}")


def leaving(running: process.Running, rounds: int) -> None:
    """Print how long the only slot stays taken when a client leaves in the middle of a long answer."""
    taken_s = []
    for _ in range(rounds):
        alone_s = ask(running, "Hello", 1)[0]
        with HTTP.stream("POST", f"{running.host}/api/chat", json=asked(STORY[0]["content"], 256)) as reply:
            next(reply.iter_lines())
        taken_s.append(ask(running, "Hello", 1)[0] - alone_s)
    print(f"a client leaves: the slot is free after {statistics.median(taken_s):.3f} s, worst {max(taken_s):.3f} s")


def memory(running: process.Running, requests: int) -> None:
    """Print the server's resident memory at the start and over many short requests."""
    server = psutil.Process(running.pid)
    print(f"memory: {server.memory_info().rss / 2**20:.0f} MiB with the model loaded; after short requests:", end="")
    begun_s = time.perf_counter()
    body = {"model": MODEL_NAME, "options": {"num_predict": 1}, "stream": False}
    for number in range(1, requests + 1):
        body["messages"] = [{"role": "user", "content": f"What is a token? {number}"}]
        HTTP.post(f"{running.host}/api/chat", json=body).raise_for_status()
        if number % max(1, requests // 10) == 0:
            print(f" {number}: {server.memory_info().rss / 2**20:.0f},", end="", flush=True)
    print(f" MiB ({(time.perf_counter() - begun_s) / requests * 1000:.1f} ms each)")


def ask(running: process.Running, question: str, tokens: int) -> tuple[float, int]:
    """Ask over HTTP with a stream; return seconds to the first line and the number of tokens."""
    begun_s, first_s, last = time.perf_counter(), 0.0, "{}"
    with HTTP.stream("POST", f"{running.host}/api/chat", json=asked(question, tokens)) as reply:
        for last in reply.iter_lines():  # noqa: B007
            first_s = first_s or time.perf_counter() - begun_s
    return first_s, int(json.loads(last)["eval_count"])


def asked(question: str, tokens: int) -> dict[str, Any]:
    """Return the body of a request for at most so many tokens."""
    messages = [{"role": "user", "content": question}]
    return {"model": MODEL_NAME, "messages": messages, "options": {**OPTIONS, "num_predict": tokens}}


def story_tok_s(running: process.Running) -> float:
    """Return tokens per second of a long answer over HTTP, prefill included."""
    begun_s = time.perf_counter()
    tokens = ask(running, STORY[0]["content"], 256)[1]
    return tokens / (time.perf_counter() - begun_s)


def bare_tok_s(engine: Any) -> float:
    """Return tokens per second of the same answer from the engine in this process, prefill included."""
    chunks: list[dict[str, Any]] = []
    sampling = {"temperature": 0, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0, "max_tokens": 256}
    effort = {"chat_template_kwargs": {"reasoning_effort": "medium"}}
    body = {"messages": STORY, "stream": True, "stream_options": {"include_usage": True}, **effort, **sampling}

    def keep(chunk: dict[str, Any]) -> bool:
        chunks.append(chunk)
        return False

    begun_s = time.perf_counter()
    engine.handle_chat_completions(body, keep)
    elapsed_s = time.perf_counter() - begun_s
    usage = next(chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage"))
    return int(usage["completion_tokens"]) / elapsed_s


def load_bare() -> Any:
    """Load the practice model with llama.cpp in this process, one thread."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(MODEL_PATH)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 4096, 1, 0
    params.n_batch = params.n_ubatch = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = params.fit_params = False
    params.verbosity = -1
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
