"""Many streams at once against a running server: equal texts, and nothing left behind.

    python3 tests/clients/many_streams.py [--port 8080] [--streams 64]

First every prompt alone, then all at once: the texts must be equal. Then all at once again while
half of the clients leave: queued, in prefill, and after some tokens. The survivors' texts must still
be equal, and running, waiting and blocks in /metrics must come back to zero. One PASS or FAIL a line;
the exit code is the number of failures. Needs Python's standard library only.
"""

import argparse
import json
import re
import socket
import sys
import threading
import time

GAUGES = ["antiphon_sequences_running", "antiphon_queue_depth", "antiphon_kv_blocks_used"]


def request(port, prompt, tokens):
    """Opens a connection and sends a streamed completion; returns the socket."""
    body = json.dumps(
        {
            "model": MODEL,
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(head.encode() + body)
    return connection


def read(connection, events=None):
    """The text of a stream: all of it, or of its first events."""
    text, seen, done = "", 0, False
    with connection, connection.makefile("r", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if not line.startswith("data: "):
                continue
            data = line[len("data: ") :].strip()
            if data == "[DONE]":
                done = True
                break
            text += json.loads(data)["choices"][0]["text"]
            seen += 1
            if seen == events:
                return text
    if events is None and not done:
        raise RuntimeError(f"no [DONE] after {text!r}")
    return text


def get(port, path):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.decode()


def gauges(port):
    page = get(port, "/metrics")
    found = {name: re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.M) for name in GAUGES}
    missing = [name for name, match in found.items() if match is None]
    assert not missing, f"/metrics has no {missing}"
    return {name: float(match.group(1)) for name, match in found.items()}


def together(jobs):
    results = [None] * len(jobs)

    def run(index):
        try:
            results[index] = jobs[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def leave(port, prompt, tokens, index):
    """Leaves at once (queued or in prefill), a little later, or after some tokens."""
    connection = request(port, prompt, tokens)
    if index % 4 == 0:
        connection.close()
    elif index % 4 == 1:
        time.sleep(0.02 * (index % 7))
        connection.close()
    else:
        read(connection, events=1 + index % 9)


def check(name, passed, detail=""):
    print(f"{'PASS' if passed else 'FAIL'} {name}{' ' + detail if detail else ''}", flush=True)
    return 0 if passed else 1


def main():
    global MODEL
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=8080)
    options.add_argument("--streams", type=int, default=64)
    options.add_argument("--tokens", type=int, default=32)
    options = options.parse_args()
    port, tokens = options.port, options.tokens
    MODEL = json.loads(get(port, "/v1/models").split("\r\n\r\n", 1)[1])["data"][0]["id"]
    places = ["river", "city", "mountain", "library", "garden", "ship", "school", "market"]
    prompts = [
        f"Story number {i} is about a {places[i % 8]}. " + "It was a long day. " * (i % 13)
        for i in range(options.streams)
    ]
    failures = 0

    alone = [read(request(port, prompt, tokens)) for prompt in prompts]
    failures += check(f"{len(alone)} prompts alone", all(alone))

    texts = together([lambda p=p: read(request(port, p, tokens)) for p in prompts])
    differing = [i for i in range(len(prompts)) if texts[i] != alone[i]]
    failures += check(f"{len(prompts)} at once give the same texts", not differing, str(differing or ""))

    jobs = [
        (lambda p=p, i=i: leave(port, p, tokens * 8, i // 2))
        if i % 2
        else (lambda p=p: read(request(port, p, tokens)))
        for i, p in enumerate(prompts)
    ]
    texts = together(jobs)
    differing = [i for i in range(0, len(prompts), 2) if texts[i] != alone[i]]
    name = f"{len(prompts) // 2} leave, {(len(prompts) + 1) // 2} stay and give the same texts"
    failures += check(name, not differing, str(differing or ""))
    broken = [str(text) for text in texts[1::2] if isinstance(text, Exception)]
    failures += check("those who left did so without an error", not broken, str(broken or ""))

    deadline = time.time() + 10
    while any(gauges(port).values()) and time.time() < deadline:
        time.sleep(0.02)
    left = gauges(port)
    failures += check("nothing is left behind", not any(left.values()), json.dumps(left))
    sys.exit(failures)


if __name__ == "__main__":
    main()
