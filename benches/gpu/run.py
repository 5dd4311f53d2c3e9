"""Parity and speed on a GPU, on a machine with a driver and CUDA 13 libraries, without Rust or network.

    tar xJf thorascribe-gpu.tar.xz && python3 thorascribe-gpu/benches/gpu/run.py

Needs nothing but Python 3. Every reference checkpoint is imported and each of its stages compared on the GPU; then every
row of the speed table is measured, with random weights drawn on the GPU (7B in 16 bits takes some 20 GB of it). Where
this Python has torch and transformers, their generate is measured beside. Exit code 1: a stage differs, a command
failed, or a speed was missed; with --parity or --speed one half only.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REFERENCE = ROOT / "fixtures/reference"
# Name: folder, language model where it lies elsewhere, image, options of the import.
CHECKPOINTS = {
    "medclip": ("medclip", None, "medclip/image.png", ["--image-tokens", "patches"]),
    "medclip, pooled": ("medclip", None, "medclip/image.png", ["--image-tokens", "pooled"]),
    "medclip, small": ("small", None, "small/image.png", ["--image-tokens", "patches"]),
    "minigpt4": ("minigpt4", "medclip/vicuna", "medclip/image.png", []),
    "minigpt4, small": ("minigpt4_small", "small/vicuna", "minigpt4_small/image.png", []),
}
TYPES = ["f32", "f16", "bf16", "q8_0", "q4_k"]
# Numbers of the image encoder: 39 blocks of ViT-g, and BLIP-2's Q-Former.
ENCODER = 39 * (4 * 1408**2 + 2 * 1408 * 6144) + 12 * (4 * 768**2 + 2 * 768 * 3072) + 6 * (2 * 768**2 + 2 * 1408 * 768)
PROMPT, ANSWER = 96, 120


def libraries():
    """Folders with CUDA's libraries that a Python environment holds, and the driver's usual places."""
    found = [path for folder in sys.path for path in pathlib.Path(folder).glob("nvidia/*/lib") if path.is_dir()]
    return [*map(str, found), "/usr/local/nvidia/lib64", "/usr/local/cuda/lib64"]


def run(arguments, command):
    paths = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *libraries()]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(filter(None, paths))}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def parity(arguments):
    print(f"parity on {arguments.device}: every stage against the published implementation's outputs")
    wrong = 0
    for name, (source, vicuna, image, options) in CHECKPOINTS.items():
        for dtype in TYPES:
            with tempfile.TemporaryDirectory() as folder:
                out = pathlib.Path(folder) / "model"
                command = [arguments.binary, "model", "import", REFERENCE / source, "--out", out, *options]
                if vicuna:
                    command += ["--language-model", REFERENCE / vicuna]
                done = run(arguments, [*command, "--dtype", dtype])
                if done.returncode == 0:
                    done = run(arguments, [
                        arguments.binary, "model", "check", out, "--device", arguments.device, "--against",
                        REFERENCE / source / "expected.safetensors", "--image", REFERENCE / image])
            equal = done.returncode == 0
            lines = (done.stdout if equal else done.stdout + done.stderr).strip().splitlines()
            print(f"  {name:<18} {dtype:<5} {lines[-1] if lines else 'no output'}", flush=True)
            if not equal:
                wrong += 1
                print("\n".join(f"    {line}" for line in lines))
    return wrong


def bench(arguments, *options):
    command = [arguments.binary, "model", "bench", ROOT / "benches/models/xraygpt.toml", "--json", "--dtype", "f16",
               "--device", arguments.device, "--prefill", PROMPT, "--decode", ANSWER, *options]
    done = run(arguments, command)
    if done.returncode != 0:
        print(f"{' '.join(map(str, command))}\n{done.stderr}")
        return None
    return json.loads(done.stdout)


def rival(arguments):
    command = [sys.executable, HERE / "rival_generate.py", "--device", arguments.device, "--prefill", PROMPT,
               "--decode", ANSWER]
    done = run(arguments, command)
    if done.returncode == 0:
        return json.loads(done.stdout)["decode_tokens_per_second"]
    print(f"no rival: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
    return None


def row(what, ours, against, ratio, least, most=None):
    kept = ratio >= least if most is None else ratio <= most
    needed = f">= {least:g}" if most is None else f"<= {most:g}"
    print(f"{what:<34} {ours:>14} {against:>34} {ratio:>7.2f} {needed:>8}  {'ok' if kept else 'MISSED'}", flush=True)
    return 0 if kept else 1


def speed(arguments):
    card = shutil.which("nvidia-smi") and run(arguments, ["nvidia-smi", "-L"]).stdout.strip()
    print(f"speed on {card or arguments.device}: 7B f16, random weights, {PROMPT} positions and then {ANSWER} tokens")
    one = bench(arguments, "--drafts")
    if one is None:
        return 1
    copy, decode = one["copy_bytes_per_second"], one["decode_tokens_per_second"]
    if copy is None:
        print(f"{arguments.device} is no GPU; the rows need one")
        return 1
    token = 2 * one["parameters_per_token"] / copy
    print(f"copies within its memory: {copy / 1e12:.2f} TB/s; so a token takes at least {1e3 * token:.2f} ms")
    print(f"{'row':<34} {'ours':>14} {'against':>34} {'ratio':>7} {'needed':>8}")
    missed = row("decode, batch 1", f"{decode:.1f} tok/s", f"bound {1 / token:.1f} tok/s", decode * token, 0.7)
    theirs = rival(arguments)
    if theirs:
        missed += row("decode, batch 1", f"{decode:.1f} tok/s", f"transformers {theirs:.1f} tok/s", decode / theirs, 3)
    floor = 2 * ENCODER / copy + ANSWER * token
    draft = one["drafts_seconds"]
    missed += row("whole draft, batch 1", f"{draft:.3f} s", f"floor {floor:.3f} s", draft / floor, 0, 1.6)
    print(f"{'image encoder, one image':<34} {one['encode_ms']:>11.1f} ms")
    print(f"{'prefill, batch 1':<34} {one['prefill_tokens_per_second']:>8.0f} tok/s")
    many = bench(arguments, "--batch", 32)
    if many is None:
        return missed + 1
    total = many["decode_tokens_per_second"]
    return missed + row("decode, batch 32", f"{total:.0f} tok/s", f"batch 1 {decode:.1f} tok/s", total / decode, 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "thorascribe")
    parser.add_argument("--parity", action="store_true", help="only this half")
    parser.add_argument("--speed", action="store_true", help="only this half")
    arguments = parser.parse_args()
    both = arguments.parity == arguments.speed
    wrong = parity(arguments) if both or arguments.parity else 0
    missed = speed(arguments) if both or arguments.speed else 0
    print(f"{wrong} checks failed, {missed} speeds missed")
    return 1 if wrong or missed else 0


sys.exit(main())
