#!/usr/bin/env bash
# Builds `rbees-check-cuda` beside the program for the CPU, on a machine without a GPU, a driver or CUDA.
#
#   scripts/build_cuda.sh [FOLDER]    # the tool chain goes to FOLDER, by default target/cuda
#
# nvcc, its headers and the runtime come from PyPI (100 MB, CUDA 13.0: newer code does not load on driver 580). For the
# libraries that the program loads when it starts (driver, cuBLAS, cuRAND, NVRTC), stand-ins with the same names and
# functions are compiled, which only the linker reads. The result runs on a GPU of compute capability 9.0 (Hopper);
# set CUDA_COMPUTE_CAP for another. It takes six minutes on two idle cores.
#
# Where it runs, it needs libcuda.so.1 (NVIDIA's driver), and libcudart.so.13, libcublas.so.13, libcublasLt.so.13 and
# libcurand.so.10, which a PyTorch for CUDA 13 has in site-packages/nvidia/cu13/lib: put that on LD_LIBRARY_PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-target/cuda}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

if [ ! -x "$folder/py/nvidia/cu13/bin/nvcc" ]; then
  python3 -m pip install --quiet --no-deps --target "$folder/py" \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96
fi
cuda=$folder/py/nvidia/cu13
ln -sf libcudart.so.13 "$cuda/lib/libcudart.so"
mkdir -p "$cuda/lib/stubs"

# The crate that declares the functions, in the version of Cargo.lock.
cargo fetch --locked --quiet
version=$(grep -A1 '^name = "cudarc"$' Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p')
declared=$(echo "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-"$version"/src | cut -d' ' -f1)
[ -d "$declared" ] || { echo "error: cudarc $version is not in cargo's registry" >&2; exit 2; }

stand_in() { # module of cudarc, soname, file name
  grep -oE '^ +fn [A-Za-z0-9_]+' "$declared/$1/sys/mod.rs" | awk '{print $2}' | sort -u \
    | awk '{print "int "$1"(void){return 999;}"}' > "$folder/$1.c"
  [ -s "$folder/$1.c" ] || { echo "error: no functions found in $declared/$1/sys/mod.rs" >&2; exit 2; }
  cc -shared -fPIC -O1 -Wl,-soname,"$2" -o "$cuda/lib/stubs/$3" "$folder/$1.c"
}
stand_in driver libcuda.so.1 libcuda.so
stand_in cublas libcublas.so.13 libcublas.so
stand_in cublaslt libcublasLt.so.13 libcublasLt.so
stand_in curand libcurand.so.10 libcurand.so
stand_in nvrtc libnvrtc.so.13 libnvrtc.so

export CUDA_HOME=$cuda PATH=$cuda/bin:$PATH
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-$(nproc)}
begin=$SECONDS
# A target folder of its own: the features of dependencies differ, and the program for the CPU stays where it is.
cargo build --locked --release --features cuda --bin rbees-check --target-dir "$folder/target"
release=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$release"
cp "$folder/target/release/rbees-check" "$release/rbees-check-cuda"
echo "built $release/rbees-check-cuda ($(stat -c %s "$release/rbees-check-cuda") bytes) in $((SECONDS - begin)) s"
