"""llama.cpp on the same file: prefill and decode in tokens a second, as one JSON line."""

import argparse
import ctypes
import json
import resource
import statistics
import time

import llama_cpp
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--prefill", type=int, default=128)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="seconds of the processor, not of the clock")
    parser.add_argument("--logits", help="write the prompt's last logits here (.npy)")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu else time.perf_counter
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        arguments.file.encode(), llama_cpp.llama_model_default_params())
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = arguments.prefill + arguments.decode + 8
    options.n_batch = options.n_ubatch = max(arguments.prefill, 8)
    options.n_threads = options.n_threads_batch = arguments.threads
    context = llama_cpp.llama_init_from_model(model, options)
    memory = llama_cpp.llama_get_memory(context)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def evaluate(ids):
        array = (llama_cpp.llama_token * len(ids))(*ids)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(ids))) != 0:
            raise RuntimeError("llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        return np.ctypeslib.as_array(logits, (vocabulary,))

    prompt = [(i * 7919 + 1) % vocabulary for i in range(arguments.prefill)]
    evaluate(prompt[:1])
    prefill, decode = [], []
    for _ in range(arguments.repeats):
        llama_cpp.llama_memory_clear(memory, True)
        start = clock()
        logits = evaluate(prompt)
        prefill.append(len(prompt) / (clock() - start))
        if arguments.logits:
            np.save(arguments.logits, logits)
        start = clock()
        for _ in range(arguments.decode):
            logits = evaluate([int(logits.argmax())])
        decode.append(arguments.decode / (clock() - start))
    print(json.dumps({
        "prefill_tokens_per_second": statistics.median(prefill),
        "decode_tokens_per_second": statistics.median(decode),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))


main()
