#!/usr/bin/env bash
# Fetches a CUDA compiler and its libraries from the Python package registry into the folder given (660 MB to download,
# 2 GB on disk), and prints the shell settings to build with them. For Linux on x86-64; no root, no GPU and no driver needed.
#
#   eval "$(scripts/cuda-toolkit.sh target/cuda)" && cargo build --features cuda -p anser
set -euo pipefail

folder=${1:?name the folder to unpack into}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
  echo "the wheels of the CUDA compiler are taken for Linux on x86-64 only; install the toolkit of your platform" >&2
  exit 1
fi
for tool in "$python" gcc cargo; do
  command -v "$tool" >/dev/null || { echo "$tool was not found and is needed to set up the CUDA compiler" >&2; exit 1; }
done
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/nvidia/cu13

if ! cmp -s "$here/cuda-requirements.txt" "$folder/.unpacked"; then
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --dest "$folder/wheels" --requirement "$here/cuda-requirements.txt" >&2
  # Every wheel lays its part of the toolkit under the same root. Nothing in a wheel is run until nvcc is called.
  for wheel in "$folder"/wheels/*.whl; do "$python" -m zipfile --extract "$wheel" "$folder"; done
  chmod +x "$root"/bin/* "$root"/nvvm/bin/*
  # Wheels carry no symbolic links, and the linker looks for libX.so and the toolkit for lib64.
  for library in "$root"/lib/lib*.so.*; do
    name=$(basename "$library")
    ln -sf "$name" "$root/lib/${name%%.so.*}.so"
  done
  ln -sfn lib "$root/lib64"
  cp "$here/cuda-requirements.txt" "$folder/.unpacked"
fi

# The driver's library comes with the driver, on the machine with the GPU. To link without one, a library of the same name
# that defines what the bindings declare is enough.
if [ ! -e "$root/lib/stubs/libcuda.so" ]; then
  bindings=$(cd "$here/.." && cargo metadata --format-version 1 --features anser/cuda |
    "$python" -c 'import json,os,sys; print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"]=="cudarc"))')
  mkdir -p "$root/lib/stubs"
  grep -ohE '\bfn cu[A-Z][A-Za-z0-9_]*' "$bindings/src/driver/sys/mod.rs" | sed 's/fn //' | sort -u |
    sed 's/.*/void &(void) {}/' >"$root/lib/stubs/libcuda.c"
  gcc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o "$root/lib/stubs/libcuda.so" "$root/lib/stubs/libcuda.c"
fi

# Kernels compiled for an older generation run on newer ones; those of 8.0 have 16-bit brain floats.
capability=${CUDA_COMPUTE_CAP:-}
if [ -z "$capability" ] && command -v nvidia-smi >/dev/null; then
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -n | head -1 | tr -d .) || true
fi

cat <<SETTINGS
export PATH="$root/bin:\$PATH"
export CUDA_HOME="$root" CUDA_PATH="$root" CUDA_ROOT="$root" CUDA_TOOLKIT_ROOT_DIR="$root"
export CUDA_COMPUTE_CAP="${capability:-80}"
export LIBRARY_PATH="$root/lib:$root/lib/stubs\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
export RUSTFLAGS="-L native=$root/lib -L native=$root/lib/stubs -C link-arg=-Wl,-rpath,$root/lib \${RUSTFLAGS:-}"
SETTINGS
