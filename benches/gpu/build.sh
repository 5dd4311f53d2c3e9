#!/usr/bin/env bash
# Builds Thorascribe with CUDA on a machine that has neither a GPU nor CUDA, and packs what a machine with a driver and
# CUDA 13 libraries, but without Rust and network, needs for benches/gpu/run.py.
#
#   benches/gpu/build.sh [WORK]       # takes WORK (else target/cuda) for the toolkit, the build and the archive
#
# Needs: Rust, gcc, g++, python3 with pip, unzip, xz. CUDA_COMPUTE_CAP names the GPU's architecture: 90 is Hopper only.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
work=${1:-$project/target/cuda}
mkdir -p "$work"
work=$(cd "$work" && pwd)
target=${CARGO_TARGET_DIR:-$work/target}
python=${PYTHON:-python3}

# The toolkit, 13.0 exactly: a driver of CUDA 13.0 refuses newer PTX.
toolkit=$work/cuda13/nvidia/cu13
if [ ! -x "$toolkit/bin/nvcc" ]; then
  "$python" -m pip download -q --no-deps -d "$work/whl" nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 \
    nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
  for wheel in "$work"/whl/*.whl; do unzip -qo "$wheel" -d "$work/cuda13"; done
fi
ln -sfn lib "$toolkit/lib64"
export CUDA_HOME=$toolkit CUDA_PATH=$toolkit NVCC=$toolkit/bin/nvcc PATH=$toolkit/bin:$PATH
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-2}

# Stand-ins for the libraries that come with the driver and CUDA; the static CUDA runtime stands in for its own.
cargo fetch --locked --manifest-path "$project/Cargo.toml"
bindings=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-0.19.10/src | head -1)
cat "$bindings"/{driver,cublas,cublaslt,curand,nvrtc}/sys/mod.rs |
  grep -oE 'pub (unsafe )?fn (cu[A-Z]\w+|nvrtc\w+|curand\w+|cublas\w+)' | awk '{print $NF}' | sort -u > "$work/symbols"
"$python" "$here/shims.py" "$work/symbols" "$work/shims"
cp "$toolkit/lib/libcudart_static.a" "$work/shims/libcudart.a"

CUDA_SHIM_DIR=$work/shims cargo build --locked --release --features cuda --target-dir "$target" \
  --manifest-path "$project/Cargo.toml"

# The archive: the binary without symbols, what benches/gpu/run.py reads, in the folders of the repository.
pack=$work/thorascribe-gpu
rm -rf "$pack"
mkdir -p "$pack/fixtures" "$pack/benches"
strip -o "$pack/thorascribe" "$target/release/thorascribe"
cp -r "$project/benches/gpu" "$project/benches/models" "$pack/benches"
cp -r "$project/fixtures/reference" "$pack/fixtures"
rm -rf "$pack/fixtures/reference/efficientnet_lite0"
tar -C "$work" -cJf "$work/thorascribe-gpu.tar.xz" thorascribe-gpu
ls -l "$work/thorascribe-gpu.tar.xz"
