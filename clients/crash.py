#!/usr/bin/env python3
"""Kills the server under load and compares what its clients were promised with what is left.

    clients/crash.py --binary target/release/crossdock --rounds 100 --seed 7
    clients/crash.py --binary target/release/crossdock --rounds 200 --power-cuts
    clients/crash.py --target rabbitmq --rounds 5       (the checks themselves, on a real peer)

Real clients of both wires publish, consume, acknowledge, commit and declare, and keep a log of
what the server acknowledged. At a random moment the server gets SIGKILL, is started again on the
same directory, and everything acknowledged must be there: messages in the order of their
publisher, committed offsets, declared things; nothing that was proven settled comes again.
With `--power-cuts` the killed server also loses, in part, what it had not synced, as the seed
decides, and what is left must be a store without damage. Some rounds cut the power again while it
starts, some are SIGKILL alone, after which what was not synced can still be lost a round later;
in most the segments are small, so that they are sealed, checkpointed and recycled all the time.
One line a round; then `N passed, N failed, N skipped`.
"""

import argparse
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "python")]
from harness.target import build_target  # noqa: E402
from harness.toolchain import Toolchains  # noqa: E402

# Moments looked at for one at which something is not synced.
RISK_TRIES = 200


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
            passed, failed = run(target, options)
        finally:
            target.close()
    print(f"{passed} passed, {failed} failed, {options.rounds - passed - failed} skipped")
    return 1 if failed else 0


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", choices=["crossdock", "rabbitmq", "kafka"],
                        default="crossdock")
    parser.add_argument("--binary", help="the crossdock program")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds-max", type=float, default=2.5, help="longest load of a round")
    parser.add_argument("--power-cuts", action="store_true",
                        help="lose also what was not synced (crossdock only)")
    parser.add_argument("--data", help="a directory to keep the store in (it is emptied first)")
    options = parser.parse_args()
    if options.power_cuts and options.target != "crossdock":
        parser.error("only Crossdock records what it has not synced")
    return options


def run(target, options):
    """Runs the rounds; gives the numbers of those without and with a fault. A server that does not
    start again ends the run."""
    chance = random.Random(options.seed)
    power = random.Random(f"{options.seed}/power")
    if options.power_cuts:
        target.record_writes()
    target.start()
    loads = build_loads(target, chance)
    for load in loads:
        load.prepare()
    passed, failed, acknowledged, lost = 0, 0, 0, Counter()
    for number in range(1, options.rounds + 1):
        load_seconds = chance.uniform(0.2, options.seconds_max)
        for load in loads:
            load.begin(number)
        time.sleep(load_seconds)
        for load in loads:
            load.killing()
        if options.power_cuts:
            await_risk(target, power)
        target.kill()
        for load in loads:
            load.end()
        cuts = cut_power(target, power) if options.power_cuts else []
        faults = [fault for _, _, fault in cuts if fault]
        began = time.monotonic()
        started = True
        try:
            if options.power_cuts:
                target.keep_house(much=power.random() < 0.7)
            target.start()
        except RuntimeError as error:
            faults.append(str(error))
            started = False
        start_seconds = time.monotonic() - began
        if started:
            faults += [fault for load in loads for fault in verify(load)]
        counts = "; ".join(load.counts() for load in loads)
        acknowledged += sum(load.acknowledged_count() for load in loads)
        for _, counted, _ in cuts:
            lost.update(counted)
        failed += bool(faults)
        passed += not faults
        print(f"round {number}: killed after {load_seconds:.2f} s, back in {start_seconds:.2f} s; "
              f"{counts}: {'FAILED' if faults else 'ok'}", flush=True)
        for told, _, _ in cuts:
            print(f"    {told}", flush=True)
        for fault in faults[:20]:
            print(f"    {fault}", flush=True)
        if not started:
            break
    told = ", ".join(f"{count} {what}" for what, count in sorted(lost.items()))
    print(f"{acknowledged} messages acknowledged; {failed} rounds with a fault; {told}")
    return passed, failed


def verify(load):
    """The faults of a load; that it could not be compared is one."""
    try:
        return load.verify()
    except Exception as error:  # Whatever a client says when what it asks for is not there.
        return [f"not comparable: {error!r}"]


def await_risk(target, power):
    """Stops the server, most often at a moment when a power cut could undo something, sometimes a
    change of names: one between a write and its sync is rare while clients wait for each other."""
    tries = 1 if power.random() < 0.1 else RISK_TRIES
    names_tries = tries // 2 if power.random() < 0.3 else 0
    for attempt in range(tries):
        target.pause()
        found = target.unsynced()
        if "names" in found or found and attempt >= names_tries:
            return
        target.resume()
        time.sleep(power.uniform(0, 0.004))


def cut_power(target, power):
    """Cuts the power of a killed server, perhaps again while it starts: each time what is told
    and counted of it, and the damage that was left, if any."""
    cuts = []
    if power.random() < 0.1:
        return [("killed only", {}, "")]
    while True:
        seed = power.randrange(1 << 32)
        told = target.cut_power(seed)
        counts = Counter({"power cuts": "writes" in told})
        for count, what in re.findall(r"(\d+) (dropped|torn|lengths undone)", told):
            counts[what] += int(count)
        cuts.append((f"power cut, seed {seed}: {told}", counts, target.damage()))
        if power.random() < 0.75:
            return cuts
        target.spawn()
        time.sleep(power.uniform(0, 0.1))
        target.kill()


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
