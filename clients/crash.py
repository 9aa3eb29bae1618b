#!/usr/bin/env python3
"""Kills the server under load and compares what its clients were promised with what is left.

    clients/crash.py --binary target/release/crossdock --rounds 100 --seed 7
    clients/crash.py --target rabbitmq --rounds 5       (the checks themselves, on a real peer)

Real clients of both wires publish, consume, acknowledge, commit and declare, and keep a log of
what the server acknowledged. At a random moment the server gets SIGKILL, is started again on the
same directory, and everything acknowledged must be there: messages in the order of their
publisher, committed offsets, declared things; nothing that was proven settled comes again.
One line a round; then `N passed, N failed, N skipped`.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "python")]
from harness.target import build_target  # noqa: E402
from harness.toolchain import Toolchains  # noqa: E402


def main():
    options = parse_options()
    tools = Toolchains()
    interpreter = tools.python()
    if os.environ.get("CROSSDOCK_CRASH") != "inside":
        # The loads need the client packages, which live in the virtual environment.
        os.environ["CROSSDOCK_CRASH"] = "inside"
        os.execv(interpreter, [str(interpreter), *sys.argv])
    with tempfile.TemporaryDirectory(prefix="crossdock-crash-") as scratch:
        directory = Path(options.data) if options.data else Path(scratch) / "server"
        target = build_target(options.target, directory, tools, options.binary)
        try:
            failed = run(target, options)
        finally:
            target.close()
    print(f"{options.rounds - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", choices=["crossdock", "rabbitmq", "kafka"],
                        default="crossdock")
    parser.add_argument("--binary", help="the crossdock program")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds-max", type=float, default=2.5, help="longest load of a round")
    parser.add_argument("--data", help="a directory to keep the store in (it is emptied first)")
    return parser.parse_args()


def run(target, options):
    """Runs the rounds; gives the number of those with a fault."""
    chance = random.Random(options.seed)
    target.start()
    loads = build_loads(target, chance)
    for load in loads:
        load.prepare()
    failed = 0
    for number in range(1, options.rounds + 1):
        load_seconds = chance.uniform(0.2, options.seconds_max)
        for load in loads:
            load.begin(number)
        time.sleep(load_seconds)
        for load in loads:
            load.killing()
        target.kill()
        for load in loads:
            load.end()
        began = time.monotonic()
        target.start()
        start_seconds = time.monotonic() - began
        faults = [fault for load in loads for fault in load.verify()]
        counts = "; ".join(load.counts() for load in loads)
        failed += bool(faults)
        print(f"round {number}: killed after {load_seconds:.2f} s, back in {start_seconds:.2f} s; "
              f"{counts}: {'FAILED' if faults else 'ok'}", flush=True)
        for fault in faults[:20]:
            print(f"    {fault}", flush=True)
    return failed


def build_loads(target, chance):
    loads = []
    if "amqp" in target.wires:
        import crash_amqp
        loads.append(crash_amqp.Load(target, chance))
    if "kafka" in target.wires:
        import crash_kafka
        loads.append(crash_kafka.Load(target, chance))
    return loads


if __name__ == "__main__":
    sys.exit(main())
