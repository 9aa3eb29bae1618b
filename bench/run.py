#!/usr/bin/env python3
"""Measures Crossdock beside RabbitMQ, Apache Kafka and librdkafka's mock broker, in one run.

    cargo xtask bench                                  # builds everything, then runs this
    bench/run.py --binary target/release/crossdock --only crossdock,kafka --repeat 1 --scale 0.2
    bench/run.py --binary target/release/crossdock --only crossdock --queues 10000
    bench/run.py --binary target/release/crossdock --features
    bench/run.py --list

Repetitions are the outer loop, so that a slow minute of the machine falls on every subject. Prints
medians, ratios to Crossdock, and the gates; ends with `N passed, N failed, N skipped` over the
gates. Peers that are not installed are named as not run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "clients"))

import features  # noqa: E402
from figures import Figures  # noqa: E402
from subjects import SUBJECTS, MissingSubject, descendants  # noqa: E402
from syncs import read_syncs  # noqa: E402

DRIVERS = HERE / "target" / "release"
RUN_SECONDS_MAX = 180

# Share of the messages that every server gets before it is measured: a JVM compiles as it runs.
WARM_UP = 0.25

# A run is driven again when a hypervisor took more of the processors meanwhile.
STOLEN_PERCENT_MAX = 3.0
TRIES = 3


def main():
    options = parse_options()
    if options.features:
        return 1 if measure_features(options) else 0
    chosen = [subject for subject in SUBJECTS
              if not options.only or subject.name in options.only.split(",")]
    if options.list:
        for subject in SUBJECTS:
            print(subject.name, "-", subject.title)
            for run in subject.runs:
                print("   ", run.label, run.messages)
        return 0
    figures = Figures(chosen)
    for repetition in range(options.repeat):
        for subject in chosen:
            if subject.name in figures.missing:
                continue
            measure(subject, repetition, options, figures)
    figures.print_tables()
    if options.json:
        Path(options.json).write_text(json.dumps(figures.rows, indent=1))
    return 1 if figures.print_gates() else 0


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", help="the crossdock program")
    parser.add_argument("--only", default="", help="only these subjects, separated by commas")
    parser.add_argument("--runs", default="", help="only runs with this text in their label")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the messages")
    parser.add_argument("--queues", type=int, default=0,
                        help="as many more AMQP queues of each server are in use meanwhile")
    parser.add_argument("--features", action="store_true",
                        help="what features of a queue cost, beside a plain one and beside RabbitMQ")
    parser.add_argument("--flow", action="store_true",
                        help="with --features: publish and consume at once")
    parser.add_argument("--json", help="write every row to this file")
    parser.add_argument("--list", action="store_true", help="print subjects and runs")
    return parser.parse_args()


def measure(subject, repetition, options, figures):
    """Starts one subject, drives its runs, stops it."""
    # Not the system's temporary directory: that may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(prefix="run-", dir=HERE / "target") as scratch:
        try:
            target = subject.make(Path(scratch) / "server", options.binary)
            if target:
                target.start()
        except (MissingSubject, RuntimeError) as why:
            figures.skip(subject, str(why))
            return
        crowd = None
        try:
            if target and options.queues and "amqp" in target.ports:
                crowd = gather_crowd(target, options.queues)
            if target:
                figures.version(subject, target.version())
            runs = [run for run in subject.runs if options.runs in run.label]
            for run in runs:
                if target and run.mode != "lat":
                    drive_pair(run, target, options.scale * WARM_UP)
            for group in groups(runs):
                for run, row in zip(group, drive_group(group, target, options.scale)):
                    if "error" in row:
                        print(f"    {subject.name}: {run.label}: {row['error']}", flush=True)
                    row.update(subject=subject.name, label=run.label, repetition=repetition)
                    figures.add(row)
            figures.syncs(subject, read_syncs(target))
        finally:
            if crowd:
                crowd.kill()
                crowd.wait()
            if target:
                target.stop()
                target.close()


def measure_features(options):
    """Measures every feature of a queue beside the plain one; gives how many gates failed."""
    chosen = [feature for feature in features.FEATURES if options.runs in feature.name]
    subjects = [subject for subject in features.SUBJECTS
                if not options.only or subject.name in options.only.split(",")]
    costs = features.Costs(chosen)
    for _ in range(options.repeat):
        for subject in list(subjects):
            with tempfile.TemporaryDirectory(prefix="run-", dir=HERE / "target") as scratch:
                try:
                    target = subject.make(Path(scratch) / "server", options.binary)
                    target.start()
                except (MissingSubject, RuntimeError) as why:
                    print(f"not run: {subject.title}: {why}", flush=True)
                    subjects.remove(subject)
                    continue
                try:
                    measure_pairs(subject, target, chosen, options, costs)
                finally:
                    target.stop()
                    target.close()
    return costs.print_table()


def measure_pairs(subject, target, chosen, options, costs):
    """The plain run and the one with the feature, of each feature, on a server that is warm."""
    mode = "flow" if options.flow else "life"
    pairs = [(feature, features.runs(feature, subject, mode)) for feature in chosen]
    for _, pair in pairs:
        for run in pair:
            drive_pair(run, target, options.scale * WARM_UP)
    for feature, pair in pairs:
        if pair:
            costs.add(subject, feature, drive_group(pair, target, options.scale))


def gather_crowd(target, queues):
    """Declares queues and lets messages trickle through them until it is killed."""
    command = [str(DRIVERS / "drv_crowd"), "--port", str(target.ports["amqp"]),
               "--queues", str(queues)]
    crowd = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if crowd.stdout.readline().strip() != "ready":
        crowd.kill()
        raise RuntimeError("the queues of the crowd cannot be declared")
    return crowd


def groups(runs):
    """Runs in lists: each that prepares for itself, with those that use what it left."""
    found = []
    for run in runs:
        if run.prepare or not found:
            found.append([])
        found[-1].append(run)
    return found


def drive_group(group, target, scale):
    """The rows of some runs. While a hypervisor gives the processors to others, a message costs up
    to twice the CPU, whoever runs then: such runs are driven again, a few times at most, and of
    each the least disturbed counts."""
    best = None
    for _ in range(TRIES):
        rows = [drive_pair(run, target, scale) for run in group]
        best = rows if best is None else [min(pair, key=stolen) for pair in zip(best, rows)]
        if all(stolen(row) <= STOLEN_PERCENT_MAX for row in best):
            break
    return best


def stolen(row):
    return row.get("stolen_percent", 100)


def drive_pair(run, target, scale):
    """A run, after what prepares it; its row, with `error` when it failed."""
    try:
        if run.prepare and target:
            drive(run, target, "prepare", scale)
        return drive(run, target, run.mode, scale)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}


def drive(run, target, mode, scale):
    messages = max(int(run.messages * scale), 200)
    command = [str(DRIVERS / run.driver), "--mode", mode, "--messages", str(messages),
               "--size", str(run.size)]
    if target:
        pids = descendants(target.process.pid)
        for pid in pids:
            reset_peak(pid)
        command += ["--port", str(target.ports[run.wire]),
                    "--server-pids", ",".join(map(str, pids))]
    for key, value in run.options.items():
        command += [f"--{key}", str(value)]
    before = processor_ticks()
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-800:]}")
    stolen, all_ticks = (after - earlier for after, earlier in zip(processor_ticks(), before))
    row = json.loads(done.stdout.strip().splitlines()[-1])
    row["stolen_percent"] = 100 * stolen / max(all_ticks, 1)
    return row


def processor_ticks():
    """Ticks that a hypervisor gave to others while this machine wanted them, and all ticks."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return ticks[7], sum(ticks[:8])


def reset_peak(pid):
    """Lets the peak memory of a process begin anew, so that each run has its own."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        pass


if __name__ == "__main__":
    os.environ.setdefault("RUST_BACKTRACE", "0")
    sys.exit(main())
