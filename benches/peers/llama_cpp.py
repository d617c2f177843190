#!/usr/bin/env python3
"""Times rbees-check and llama.cpp in turn. `llama_cpp.sh` calls it with everything it needs.

    python benches/peers/llama_cpp.py RBEES_CHECK LLAMA_BENCH MODEL.gguf... [--runs 5] [--threads 2] [--load]

Prints a Markdown table of medians for each file: tokens per second of a prompt of 510 tokens and of 128 generated
tokens, the peak resident memory while the prompt is read, and the seconds from the start of the process to its first
token. llama.cpp warms up before it measures a speed; rbees-check starts anew for each run.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

PROMPT = "the" + " the" * 509  # 510 tokens of SmolLM2
# Without end-of-sequence tokens, so that all tokens are generated.
GREEDY = ["--unchecked", "--temperature", "0", "--logit-bias", "0=-inf", "--logit-bias", "2=-inf"]


def run(command):
    """Output and errors of a command, and its seconds."""
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:3])}…: exit code {done.returncode}\n{done.stderr}")
    return done.stdout, done.stderr, time.monotonic() - begin


def alone(command):
    """The same, and its peak resident memory in MiB, measured by a process that has no other child."""
    code = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:]).returncode\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(f'peak {peak:.0f} MiB', file=sys.stderr)\n"
        "sys.exit(code)"
    )
    out, errors, seconds = run([sys.executable, "-c", code, *command])
    return out, errors, seconds, float(re.findall(r"peak (\d+) MiB", errors)[-1])


class RbeesCheck:
    name = "rbees-check"

    def __init__(self, program, threads):
        self.program, self.threads = program, str(threads)

    def generate(self, model, prompt, tokens):
        return [self.program, "generate", prompt, "--model", model, "--max-tokens", str(tokens),
                "--threads", self.threads, *GREEDY]

    def prefill(self, model):
        _, errors, _, peak = alone(self.generate(model, PROMPT, 1))
        count, seconds = re.search(r"prompt of (\d+) in ([\d.]+) s", errors).groups()
        if count != "510":
            sys.exit(f"the prompt has {count} tokens instead of 510")
        return 510 / float(seconds), peak

    def decode(self, model):
        _, errors, _ = run(self.generate(model, "The sky is", 128))
        count, speed = re.search(r"(\d+) tokens, ([\d.]+) tokens/s", errors).groups()
        if count != "128":
            sys.exit(f"{count} tokens were generated instead of 128")
        return float(speed)

    def first_token(self, model):
        return run(self.generate(model, "The sky is", 1))[2]


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, program, threads):
        self.program, self.threads = program, str(threads)

    def bench(self, model, prompt, tokens, *options):
        return [self.program, "-m", model, "-p", str(prompt), "-n", str(tokens), "-t", self.threads, "-r", "1",
                "-o", "json", *options]

    def prefill(self, model):
        out, _, _, peak = alone(self.bench(model, 510, 0))
        return json.loads(out)[0]["avg_ts"], peak

    def decode(self, model):
        return json.loads(run(self.bench(model, 0, 128))[0])[0]["avg_ts"]

    def first_token(self, model):
        return run(self.bench(model, 3, 0, "--no-warmup"))[2]


def row(program, name, measured):
    prefill, peak, decode, first = (statistics.median(column) for column in zip(*measured))
    print(f"| {name} | {program.name} | {prefill:.0f} | {decode:.0f} | {peak:.0f} | {first:.2f} |", flush=True)
    return prefill, decode, peak, first


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rbees_check")
    parser.add_argument("llama_bench")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--load", action="store_true", help="keep one core busy meanwhile")
    asked = parser.parse_args()
    ours, theirs = RbeesCheck(asked.rbees_check, asked.threads), LlamaCpp(asked.llama_bench, asked.threads)
    info = json.loads(run(theirs.bench(asked.models[0], 1, 0))[0])[0]
    with open("/proc/cpuinfo") as lines:
        flags = next(line for line in lines if line.startswith("flags")).split()
    has = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if flag in flags]
    print(f"{info['cpu_info']}, {os.cpu_count()} cores, {' '.join(has)}; {asked.threads} threads, {asked.runs} runs; "
          f"llama.cpp {info['build_number']} ({info['backends']}); load {os.getloadavg()[0]:.1f}"
          f"{', and one core kept busy' if asked.load else ''}\n")
    print("| file | program | prompt, tokens/s | text, tokens/s | peak, MiB | first token, s |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if asked.load else None
    try:
        for model in asked.models:
            name = re.search(r"(Q\d_\d)", os.path.basename(model)).group(1)
            measured = {ours: [], theirs: []}
            for _ in range(asked.runs):
                for program in measured:
                    speed, peak = program.prefill(model)
                    measured[program].append((speed, peak, program.decode(model), program.first_token(model)))
            a, b = (row(program, name, measured[program]) for program in measured)
            print(f"| {name} | ratio | {a[0] / b[0]:.2f} | {a[1] / b[1]:.2f} | {a[2] / b[2]:.2f} | {a[3] / b[3]:.2f} |",
                  flush=True)
    finally:
        if busy:
            busy.kill()


if __name__ == "__main__":
    main()
