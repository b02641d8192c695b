"""A recommendation service: users' histories in, slates out, with a health check and a load test on this machine.

    pip install 'gems-gym[serve]'
    python examples/05_service.py                       # http://127.0.0.1:8000/docs
    python examples/05_service.py --load-test 2000      # serves, asks itself, prints latencies, and ends

    curl -X POST http://127.0.0.1:8000/recommend -H 'content-type: application/json' -d '{"history": []}'

No learning library is loaded. The service keeps nothing of its users, so any number of its processes can stand behind
one load balancer.
"""

import argparse
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from gems_gym.serving import ServedPolicy, open_policy


class Shown(BaseModel):
    """A slate that a user was shown, and 0 or 1 for each of its items: whether it was clicked."""

    slate: list[int]
    clicks: list[int]


class Question(BaseModel):
    """What a user was shown in the session so far, oldest slate first; nothing for a new user."""

    history: list[Shown]
    seed: int = 0


def make_app(policy: ServedPolicy, name: str) -> FastAPI:
    """The service of one policy."""
    app = FastAPI(title="Slates")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "policy": name}

    # async, so that all questions are answered in one thread: a policy serves one at a time
    @app.post("/recommend")
    async def recommend(question: Question) -> dict[str, list[int]]:
        history = [shown.model_dump() for shown in question.history]
        try:
            return {"slate": policy.recommend(history, question.seed).tolist()}
        except ValueError as error:
            raise HTTPException(status_code=422, detail=str(error)) from None

    return app


def serve_in_thread(app: FastAPI) -> tuple[uvicorn.Server, threading.Thread, int]:
    """Serve on a free port of this machine until ``should_exit`` is set."""
    # with its protocol named, asyncio sends answers at once (TCP_NODELAY)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    return server, thread, listening.getsockname()[1]


def ask(port: int, num_questions: int, length: int) -> list[float]:
    """Ask about one user after the other, whose histories have so many slates; returns seconds of each answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(num_questions):
        history = [
            {"slate": rng.permutation(1000)[:10].tolist(), "clicks": rng.integers(2, size=10).tolist()}
            for _ in range(length)
        ]
        body = json.dumps({"history": history})
        begin = time.perf_counter()
        connection.request("POST", "/recommend", body, {"content-type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        seconds.append(time.perf_counter() - begin)
        if len(answer["slate"]) != 10:
            raise RuntimeError(f"a slate of 10 items was expected, got {answer}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a policy's slates over HTTP, on this machine.")
    parser.add_argument(
        "--policy", default="expert-diffuse_mix", help="a shipped policy or an agent's folder"
    )
    parser.add_argument("--port", type=int, default=8000, help="port (default: 8000)")
    parser.add_argument("--load-test", type=int, metavar="N", help="serve N questions of our own, and end")
    parser.add_argument("--clients", type=int, default=4, help="of the load test (default: 4)")
    arguments = parser.parse_args()

    policy = open_policy(arguments.policy)
    policy.recommend([])  # what has to be compiled is, before the first user comes
    app = make_app(policy, arguments.policy)
    if arguments.load_test is None:
        uvicorn.run(app, host="127.0.0.1", port=arguments.port)
        return
    server, thread, port = serve_in_thread(app)
    try:
        each = max(arguments.load_test // arguments.clients, 1)
        begin = time.perf_counter()
        with ThreadPoolExecutor(arguments.clients) as clients:
            parts = [clients.submit(ask, port, each, 20) for _ in range(arguments.clients)]
            seconds = np.concatenate([part.result() for part in parts])
        took = time.perf_counter() - begin
    finally:
        server.should_exit = True
        thread.join()
    half, most = 1000 * np.quantile(seconds, [0.5, 0.99])
    print(f"{len(seconds)} answers, {len(seconds) / took:.0f} a second; p50 {half:.1f} ms, p99 {most:.1f} ms")


if __name__ == "__main__":
    main()
