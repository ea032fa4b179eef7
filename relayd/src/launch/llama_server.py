"""llama.cpp's HTTP server, from its Python package, on one thread.

Prints `LISTEN host:port` once the model is loaded (before that /health answers 503) and ends on
SIGTERM, on SIGINT, and when its standard input ends, which is how it learns that whoever started
it is gone.
"""

import argparse
import os
import signal
import sys
import threading

import xllamacpp


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--alias", required=True, help="name of the model in answers")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--context", type=int, default=4096, help="tokens, shared by all slots")
    parser.add_argument("--slots", type=int, default=4, help="requests at once")
    return parser.parse_args()


def parameters(args):
    p = xllamacpp.CommonParams()
    p.model.path = args.model
    p.model_alias = {args.alias}
    p.hostnames = ["127.0.0.1"]
    p.port = args.port
    p.n_ctx = args.context
    p.n_parallel = args.slots
    p.n_gpu_layers = 0
    p.fit_params = False
    p.warmup = False
    p.ui = False
    p.use_jinja = True
    p.cpuparams.n_threads = 1
    p.cpuparams_batch.n_threads = 1
    # One for each slot that may stream, and some for health and metrics beside them.
    p.n_threads_http = args.slots + 4
    p.endpoint_metrics = True
    p.endpoint_slots = True
    p.endpoint_props = True
    return p


def end(*_):
    # The server's threads do not end by themselves; there is nothing to save.
    os._exit(0)


def end_with_input():
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    end()


def main():
    args = arguments()
    if not os.path.isfile(args.model):
        sys.exit(f"no model file at {args.model}")
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    # Before the model is loaded, which may take long.
    threading.Thread(target=end_with_input, daemon=True).start()
    server = xllamacpp.Server(parameters(args))
    address = server.listening_address.removeprefix("http://")
    print("LISTEN", address, flush=True)
    while True:
        signal.pause()


main()
