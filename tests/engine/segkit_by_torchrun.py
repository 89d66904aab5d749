"""The command line, with a fault in process 1: segkit_by_torchrun.py FAULT ARGUMENTS."""

import os
import sys
import time
from datetime import timedelta

import segkit.engine.distributed
import segkit.engine.train
from segkit.cli.app import main

original, calls = segkit.engine.train.gradient_norm, []


def faulty(model):
    """The gradient norm of a step; the fifth step fails."""
    calls.append(model)
    if len(calls) == 5 and os.environ["RANK"] == "1":
        if fault == "raise":
            raise ValueError("a fault of the program")
        time.sleep(600)
    return original(model)


fault = sys.argv.pop(1)
segkit.engine.train.gradient_norm = faulty
segkit.engine.distributed.TIMEOUT = timedelta(seconds=6)
main()
