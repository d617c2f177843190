#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# ///
"""Starts `rbees-check serve` and behaves badly towards it: clients that vanish, half a header, half a body, idle
connections up to the limit, a body of 10 MB, broken UTF-8, SIGTERM under load. After each fault, a normal request must
be answered. Prints one line per fault with figures, and exits with 1 if one of them hangs or loses an answer.

    cargo build --release --features serve
    scripts/serve_faults.py target/release/rbees-check [--model smollm2-135m]
"""

import json
import signal
import socket
import subprocess
import sys
import threading
import time

PROGRAM, EXTRA = sys.argv[1], sys.argv[2:]
LIMIT = 32
PATIENCE = 3
failed = 0


class Server:
    def __init__(self, *more):
        command = [PROGRAM, "serve", "--unchecked", "--port", "0", "--patience", str(PATIENCE), *more, *EXTRA]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split("http://127.0.0.1:")[1].split()[0])

    def connect(self, timeout=60):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, path, body=None, kind="application/json", raw=None):
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else b""
        line = f"{'POST' if data else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head = f"{line}Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        connection = self.connect()
        connection.sendall(head + data)
        return connection

    def ask(self, path, body=None, **more):
        with self.send(path, body, **more) as connection:
            return everything(connection)

    def metric(self, name):
        _, text = self.ask("/metrics")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def everything(connection):
    """The status and the body of an answer, chunks joined."""
    data = b""
    while part := connection.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        joined = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            n = int(size, 16)
            joined, body = joined + body[:n], body[n + 2 :]
        body = joined
    return int(head.split()[1]) if head else 0, body.decode()


def long(tokens=400, stream=True):
    return {"prompt": "In the beginning", "max_tokens": tokens, "stream": stream, "logit_bias": {"0": -100, "2": -100}}


def report(name, holds, figures):
    global failed
    failed += not holds
    print(f"{'ok  ' if holds else 'FAIL'}  {name:<28} {figures}", flush=True)


def alive(server):
    begin = time.monotonic()
    status, text = server.ask("/v1/completions", {"prompt": "a", "max_tokens": 4})
    return status == 200 and json.loads(text)["usage"]["completion_tokens"] > 0, time.monotonic() - begin


def settled(server):
    """Waits until nothing runs; the seconds that it took."""
    begin = time.monotonic()
    while server.metric("rbees_sequences_running") or server.metric("rbees_sequences_waiting"):
        if time.monotonic() - begin > 30:
            return None
        time.sleep(0.02)
    return time.monotonic() - begin


def vanishing(server):
    before = server.metric("rbees_clients_gone_total")
    for n in range(40):
        connection = server.send("/v1/completions", long(stream=n % 2 == 0))
        if n % 4 < 2:
            time.sleep(0.05)
        if n % 3 == 0:  # with a reset instead of a farewell
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    took = settled(server)
    holds, seconds = alive(server)
    gone = server.metric("rbees_clients_gone_total") - before
    report("40 clients vanish", holds and took is not None, f"free again after {took:.2f} s; {gone} noticed; next answer in {seconds:.2f} s")


def unread(server):
    connections = [server.send("/v1/completions", long(900)) for _ in range(4)]
    took = settled(server)
    holds, seconds = alive(server)
    for connection in connections:
        connection.close()
    report("4 clients that read nothing", holds and took is not None, f"free again after {took:.2f} s; next answer in {seconds:.2f} s")


def halves(server):
    begin = time.monotonic()
    half_a_head, half_a_body = server.connect(), server.connect()
    half_a_head.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: loc")
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"pro"
    half_a_body.sendall(head)
    status, _ = everything(half_a_body)
    head_status, _ = everything(half_a_head)
    seconds = time.monotonic() - begin
    report("half a header, half a body", status == 408 and seconds < 3 * PATIENCE, f"{head_status or 'closed'} and {status} after {seconds:.1f} s")


def idle(server):
    connections = [server.connect() for _ in range(LIMIT)]
    time.sleep(0.3)
    open_connections = server.process.poll() is None and LIMIT
    holds, seconds = alive(server)
    for connection in connections:
        connection.close()
    report(f"{open_connections} idle connections", holds and seconds < 3 * PATIENCE, f"next answer in {seconds:.2f} s (limit {LIMIT}, patience {PATIENCE} s)")


def large(server):
    before = server.memory()
    status, text = server.ask("/v1/completions", raw=b'{"prompt": "' + b"a" * 10_000_000 + b'"}')
    holds, seconds = alive(server)
    code = json.loads(text)["error"]["code"]
    report("a body of 10 MB", holds and status == 413, f"{status} {code}; memory {before:.0f} -> {server.memory():.0f} MB")


def broken(server):
    statuses = [
        server.ask("/v1/completions", raw=raw)[0]
        for raw in (b'{"prompt": "\xff\xfe"}', b'{"prompt": "\xed\xa0\x80"}', b'{"prompt": "\\ud800"}', b"\x00", b"[" * 100000)
    ]
    report("broken UTF-8 and JSON", statuses == [400] * 5 and alive(server)[0], str(statuses))


def termination():
    server = Server()
    answers = []

    def client():
        try:
            answers.append(server.ask("/v1/completions", long(200)))
        except OSError as error:
            answers.append((0, repr(error)))

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    while server.metric("rbees_requests_in_flight") < 16:
        time.sleep(0.01)
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(timeout=120)
    seconds = time.monotonic() - begin
    for thread in threads:
        thread.join()
    complete = sum(status == 200 and text.endswith("data: [DONE]\n\n") for status, text in answers)
    report("SIGTERM with 16 clients", code == 0 and complete == 16, f"exit {code} after {seconds:.2f} s; {complete} of 16 answers complete")


def main():
    server = Server("--max-connections", str(LIMIT))
    memory = server.memory()
    for fault in (vanishing, unread, halves, idle, large, broken):
        fault(server)
    print(f"      memory {memory:.0f} MB at the start, {server.memory():.0f} MB now")
    server.process.kill()
    termination()
    print(f"{failed} failed")
    sys.exit(failed > 0)


main()
