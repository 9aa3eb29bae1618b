"""The programs in `examples/`: each one runs, ends, and finds its outcome right.

A program that is put there is a case by that. Those whose docstring says that they run on RabbitMQ,
too, do so against the peer.
"""

import subprocess
import sys
from pathlib import Path

from amqp_pika import VERSION
from casebook import ADMIN, AMQP, CASE_SECONDS_MAX, KAFKA, TARGET, Skip, case

__all__ = ["VERSION"]

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


def run(program):
    if TARGET == "rabbitmq" and "Runs on RabbitMQ, too." not in program.read_text():
        raise Skip("it shows what Crossdock has and RabbitMQ has not")
    places = [f"amqp://guest:guest@{AMQP}/%2F", f"http://{ADMIN}", KAFKA]
    done = subprocess.run([sys.executable, str(program), *places], capture_output=True, text=True,
                          timeout=CASE_SECONDS_MAX - 5)
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}\n" + \
        done.stdout[-1500:] + done.stderr[-3000:]


for example in EXAMPLES:
    def runs(program=example):
        run(program)
    runs.__name__ = f"{example.stem}_does_what_it_says"
    case(runs)
