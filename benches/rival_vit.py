"""ViT-g/14 as EVA-CLIP has it (39 blocks, random weights, f32) in PyTorch: milliseconds an image, as one JSON line."""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, BLOCKS, WIDE, SIDE, PATCH = 1408, 16, 39, 6144, 224, 14


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.joined, self.output = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, WIDE), nn.Linear(WIDE, WIDTH)

    def forward(self, x):
        batch, tokens, _ = x.shape
        parts = self.joined(self.before(x)).view(batch, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts)
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH))
        return x + self.narrow(functional.gelu(self.widen(self.after(x))))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.first = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, (SIDE // PATCH) ** 2 + 1, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))

    def forward(self, pixels):
        patches = self.patch(pixels).flatten(2).transpose(1, 2)
        return self.blocks(torch.cat([self.first, patches], 1) + self.positions)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        encoder = Encoder().eval()
        pixels = torch.rand(1, 3, SIDE, SIDE)
        encoder(pixels)
        times = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            encoder(pixels)
            times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"encode_ms": statistics.median(times)}))


main()
