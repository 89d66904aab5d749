"""The command line, with a fault in process 1: segkit_by_torchrun.py FAULT ARGUMENTS."""

import os
import sys
import time
from datetime import timedelta

import segkit.engine.distributed
import segkit.engine.train
from segkit.cli.app import main

original = segkit.engine.train.training_step


def faulty(trainee, *arguments, **options):
    """A training step, of which the fifth fails."""
    if trainee.progress.step == 4 and os.environ["RANK"] == "1":
        if fault == "raise":
            raise ValueError("a fault of the program")
        time.sleep(600)
    return original(trainee, *arguments, **options)


fault = sys.argv.pop(1)
segkit.engine.train.training_step = faulty
segkit.engine.distributed.TIMEOUT = timedelta(seconds=6)
main()
