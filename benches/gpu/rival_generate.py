"""transformers' generate on a LLaMA of 7B with random weights in f16, on a GPU: tokens a second as one JSON line.

Time is taken of a short and of a long answer; the difference is decoding alone.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--prefill", type=int, default=96)
    parser.add_argument("--decode", type=int, default=120)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    config = LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=32, max_position_embeddings=2048, rms_norm_eps=1e-6)
    torch.set_default_dtype(torch.float16)
    with torch.device(arguments.device), torch.inference_mode():
        model = LlamaForCausalLM(config).eval()
        ids = torch.randint(3, 32000, (arguments.batch, arguments.prefill))

        def seconds(tokens):
            torch.cuda.synchronize()
            start = time.perf_counter()
            model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=tokens,
                           max_new_tokens=tokens, pad_token_id=0)
            torch.cuda.synchronize()
            return time.perf_counter() - start

        few = 8
        seconds(few)
        rates = [arguments.batch * arguments.decode / (seconds(few + arguments.decode) - seconds(few))
                 for _ in range(arguments.repeats)]
    print(json.dumps({"decode_tokens_per_second": statistics.median(rates)}))


main()
