#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["xllamacpp==2026.10.11549"]
# ///
"""Measures `rbees-check serve` and llama.cpp's server (from the wheel xllamacpp) side by side, on the same file, with
the same number of slots and threads: 1, 8 and 64 clients that stream for 60 seconds each, and then one prompt of 1,500
tokens among 7 streaming clients. The queue is as long as the number of clients, so nothing is refused.

    cargo build --release --features serve
    uv run scripts/serve_load.py target/release/rbees-check path/to/smollm2.gguf --seconds 60

Printed for each server: tokens/s, the 50th and 95th percentile of the time to the first token and of the gap between
tokens, the memory at a third of the run and at its end, and the processor time of this program itself. The machine should
do nothing else.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time

SLOTS = 8
PROMPT = "Write a story about a lighthouse keeper, number"


def llama_cpp(model, threads, slots, context):
    """Runs llama.cpp's server until standard input closes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel = slots
    params.n_ctx = slots * context
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_gpu_layers = 0
    params.port = 0
    server = xllamacpp.Server(params)
    print(f"serving on {server.listening_address} ", flush=True)
    sys.stdin.read()
    del server


class Server:
    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = ""
        while "http://" not in line:
            line = self.process.stdout.readline()
            if not line:
                sys.exit(f"{name} does not start")
        self.port = int(line.split("http://")[1].split(":")[1].split()[0].rstrip("/"))

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()


class Figures:
    def __init__(self):
        self.first, self.gaps, self.tokens, self.refused = [], [], 0, 0


async def stream(port, prompt, tokens, figures, until):
    """Sends one request, and times its tokens until the end of the measurement."""
    body = json.dumps({"prompt": prompt, "max_tokens": tokens, "temperature": 0.8, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    begin = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    status = (await reader.readline()).split()
    if status[1] != b"200":
        figures.refused += 1
        writer.close()
        return
    last = None
    while line := await reader.readline():
        if not line.startswith(b"data: {") or b'"text":""' in line:
            continue
        now = time.monotonic()
        if now > until:
            break
        figures.tokens += 1
        (figures.first if last is None else figures.gaps).append(now - (begin if last is None else last))
        last = now
    writer.close()


async def client(n, port, tokens, figures, until):
    turn = 0
    while time.monotonic() < until:
        turn += 1
        await stream(port, f"{PROMPT} {n}-{turn}:", tokens, figures, until)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


async def measure(server, clients, seconds, tokens):
    figures, begin = Figures(), time.monotonic()
    until = begin + seconds
    memories = []

    async def watch():
        for share in (1 / 3, 0.97):
            await asyncio.sleep(max(0, begin + seconds * share - time.monotonic()))
            memories.append(server.memory())

    used = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.gather(watch(), *(client(n, server.port, tokens, figures, until) for n in range(clients)))
    now = resource.getrusage(resource.RUSAGE_SELF)
    own = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    speed = figures.tokens / seconds
    print(
        f"{server.name:<12} {clients:>3} clients  {speed:8.1f} tokens/s  first token p50 {percentile(figures.first, 0.5):6.3f}"
        f" p95 {percentile(figures.first, 0.95):6.3f} s  gap p50 {percentile(figures.gaps, 0.5):6.3f}"
        f" p95 {percentile(figures.gaps, 0.95):6.3f} s  memory {memories[0]:.0f} -> {memories[-1]:.0f} MB"
        f"  refused {figures.refused}  this program {own:.1f} s of {seconds:.0f} s",
        flush=True,
    )
    return speed, figures


async def long_prompt(server, seconds, tokens):
    """The gaps of 7 clients without and with a prompt of about 1,500 tokens."""
    _, calm = await measure(server, SLOTS - 1, seconds, tokens)
    figures, until = Figures(), time.monotonic() + seconds

    async def disturb():
        while time.monotonic() < until:
            await stream(server.port, "word " * 1500, 8, Figures(), until)

    await asyncio.gather(disturb(), *(client(n, server.port, tokens, figures, until) for n in range(SLOTS - 1)))
    ratio = percentile(figures.gaps, 0.95) / percentile(calm.gaps, 0.95)
    print(f"{server.name:<12} p95 gap with prompts of 1,500 tokens: {ratio:.2f} x", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=["rbees-check", "llama.cpp"])
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    arguments = parser.parse_args()
    ours = [arguments.program, "serve", "--unchecked", "--port", "0", "--model", arguments.model, "--max-batch", str(SLOTS)]
    ours += ["--max-queue", str(max(arguments.clients)), "--threads", str(arguments.threads)]
    theirs = [sys.executable, __file__, "--llama-cpp", arguments.model, str(arguments.threads), str(SLOTS), str(arguments.context)]
    speeds = {}
    for name, command in (("rbees-check", ours), ("llama.cpp", theirs)):
        if arguments.only not in (None, name):
            continue
        server = Server(name, command)
        for clients in arguments.clients:
            speeds[name, clients], _ = asyncio.run(measure(server, clients, arguments.seconds, arguments.tokens))
        asyncio.run(long_prompt(server, arguments.seconds / 3, arguments.tokens))
        server.stop()
    for clients in arguments.clients:
        if ("rbees-check", clients) in speeds and ("llama.cpp", clients) in speeds:
            print(f"{clients} clients: {speeds['rbees-check', clients] / speeds['llama.cpp', clients]:.2f} x llama.cpp")


if sys.argv[1:2] == ["--llama-cpp"]:
    llama_cpp(sys.argv[2], *map(int, sys.argv[3:6]))
else:
    main()
