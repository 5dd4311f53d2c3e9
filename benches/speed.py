"""The CPU rows of the speed table: ours and the rival on the same file, in turn, in one run.

    cargo build --release
    pip install llama-cpp-python gguf numpy torch
    python3 benches/speed.py --data DIR

DIR takes the random models (about 8 GB with the f32 one; they are made once).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROWS = ["q4_k_m", "q8_0", "batch", "encoder", "drafts"]
KEYS = ("prefill_tokens_per_second", "decode_tokens_per_second")


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)


def model(data, kind, size="1.26b"):
    """A random model's file, made when it is not there."""
    path = data / f"{size}-{kind}.gguf"
    if not path.exists():
        part = path.with_suffix(".part")
        made = [sys.executable, HERE / "random_gguf.py", kind, part, "--size", size]
        subprocess.run(list(map(str, made)), check=True)
        part.rename(path)
    return path


def ours(arguments, path, batch=1, decode=None):
    decode = arguments.decode if decode is None else decode
    command = [arguments.binary, "model", "bench", path, "--json", "--prefill", arguments.prefill]
    return run([*command, "--decode", decode, "--batch", batch, "--threads", arguments.threads])


def rival(arguments, path):
    command = [sys.executable, HERE / "rival_llama.py", path, "--prefill", arguments.prefill]
    return run([*command, "--decode", arguments.decode, "--threads", arguments.threads])


def row(what, ours, against, ratio, least):
    verdict = "ok" if (ratio <= least if what.startswith("memory") else ratio >= least) else "MISSED"
    print(f"{what:<34} {ours:>12} {against:>24} {ratio:>7.2f} {least:>7.2f}  {verdict}", flush=True)


def against_llama_cpp(arguments, kind, least_prefill, least_decode):
    path = model(arguments.data, kind)
    mine, theirs = [], []
    for _ in range(arguments.rounds):
        mine.append(ours(arguments, path))
        theirs.append(rival(arguments, path))
    for key, least in zip(KEYS, (least_prefill, least_decode)):
        middle = lambda all: statistics.median(one[key] for one in all)
        a, b = middle(mine), middle(theirs)
        what = f"{key.split('_')[0]} {kind}"
        row(what, f"{a:.1f} tok/s", f"llama.cpp {b:.1f} tok/s", a / b, least)
    peak = max(one["peak_mib"] for one in mine)
    size = path.stat().st_size / 2**20
    row(f"memory {kind}", f"{peak:.0f} MiB", f"file {size:.0f} MiB", peak / size, 1.4)


def batch(arguments, size):
    path = model(arguments.data, "f32", size)
    one, eight = [], []
    for _ in range(arguments.rounds):
        one.append(ours(arguments, path, decode=16)[KEYS[1]])
        eight.append(ours(arguments, path, batch=8, decode=16)[KEYS[1]])
    a, b = statistics.median(eight), statistics.median(one)
    row(f"decode f32 {size}, batch 8", f"{a:.1f} tok/s", f"batch 1 {b:.1f} tok/s", a / b, 3.0)


def whole(arguments, file, *options):
    command = [arguments.binary, "model", "bench", HERE / "models" / file, "--json", "--threads", arguments.threads]
    return run([*command, "--repeats", 1, *options])


def encoder(arguments):
    mine, theirs = [], []
    for _ in range(arguments.rounds):
        mine.append(whole(arguments, "vit_g.toml", "--encoder")["encode_ms"])
        command = [sys.executable, HERE / "rival_vit.py", "--threads", arguments.threads, "--repeats", 1]
        theirs.append(run(command)["encode_ms"])
    a, b = statistics.median(mine), statistics.median(theirs)
    row("ViT-g f32, one image", f"{a:.0f} ms", f"PyTorch {b:.0f} ms", b / a, 0.9)


def whole_batch(arguments):
    one, eight = [], []
    for _ in range(arguments.rounds):
        for batch, all in ((1, one), (8, eight)):
            options = ["--drafts", "--prefill", 64, "--decode", 16, "--batch", batch]
            all.append(whole(arguments, "1.26b.toml", *options)["drafts_tokens_per_second"])
    a, b = statistics.median(eight), statistics.median(one)
    row("drafts f32 1.26b, 8 at once", f"{a:.1f} tok/s", f"one {b:.1f} tok/s", a / b, 3.0)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--binary", default=HERE.parent / "target/release/thorascribe")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefill", type=int, default=128)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    arguments = parser.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    print(f"{'row':<34} {'ours':>12} {'against':>24} {'ratio':>7} {'needed':>7}")
    if "q4_k_m" in arguments.rows:
        against_llama_cpp(arguments, "q4_k_m", 1.0, 0.9)
    if "q8_0" in arguments.rows:
        against_llama_cpp(arguments, "q8_0", 0.8, 0.9)
    if "batch" in arguments.rows:
        for size in ("tiny", "0.1b", "1.26b"):
            batch(arguments, size)
    if "encoder" in arguments.rows:
        encoder(arguments)
    if "drafts" in arguments.rows:
        whole_batch(arguments)


main()
