"""Seconds from a function to its first result, less a call: `python planning.py LIBRARY LAYERS`.

Prints a number.
"""

import json
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))


def main():
    library, depth = sys.argv[1], int(sys.argv[2])
    from peers import layers

    if library == "tenfold":
        import tenfold as tn
        from peers import tenfold_ as peer

        x = tn.asarray(layers.encoder_input())
        np.asarray(tn.jit(lambda x: x + 1)(x))  # the compiler is loaded
    else:
        import torch

        from peers import torch_ as peer

        torch.set_grad_enabled(False)
        x = torch.from_numpy(layers.encoder_input())
        torch.compile(lambda x: x + 1)(x)
    call, times = peer.encoder(depth), []
    for _ in range(4):
        start = time.perf_counter()
        np.asarray(call(x))
        times.append(time.perf_counter() - start)
    print(json.dumps(times[0] - min(times[1:])))


if __name__ == "__main__":
    main()
