#!/usr/bin/env python3
"""Runs the client cases: unmodified client libraries against Crossdock or against a real peer.

    clients/run.py --target crossdock --binary target/release/crossdock
    clients/run.py --target rabbitmq --client pika,amqplib
    clients/run.py --target kafka --only compression

Ends with the line `N passed, N failed, N skipped`; the exit code is 0 only without failures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness.control import Control  # noqa: E402
from harness.programs import CLIENTS, command, environment  # noqa: E402
from harness.report import Report  # noqa: E402
from harness.target import build_target  # noqa: E402
from harness.toolchain import MissingTool, Toolchains  # noqa: E402

CLIENT_SECONDS_MAX = 420


def main():
    options = parse_options()
    tools = Toolchains()
    with tempfile.TemporaryDirectory(prefix="crossdock-clients-") as scratch:
        target = build_target(options.target, Path(scratch) / "server", tools, options.binary)
        report = Report(options.target)
        programs = list(chosen_programs(options, target, tools, report))
        if options.list:
            list_cases(programs, target, options)
            return 0
        target.start()
        report.target_version = target.version()
        control = Control(target)
        try:
            run_all(programs, target, control, report, options)
        finally:
            control.close()
            target.close()
    return conclude(report, options)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", choices=["crossdock", "rabbitmq", "kafka"], required=True)
    parser.add_argument("--binary", help="the crossdock program, for --target crossdock")
    parser.add_argument("--client", help="only these clients, separated by commas")
    parser.add_argument("--only", default="", help="only cases with this text in their name")
    parser.add_argument("--list", action="store_true", help="print the cases, run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="clients run side by side")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--junit", help="write a JUnit report to this file")
    parser.add_argument("--verbose", action="store_true", help="print passed cases too")
    return parser.parse_args()


def chosen_programs(options, target, tools, report):
    """(client, command, environment) of every client that is asked for and can run here."""
    names = [name for name in (options.client or "").split(",") if name]
    unknown = set(names) - {client.name for client in CLIENTS}
    if unknown:
        raise SystemExit(f"no such client: {', '.join(sorted(unknown))}")
    for client in CLIENTS:
        if names and client.name not in names:
            continue
        if not set(client.wires) <= set(target.wires):
            continue
        try:
            line, extra = command(client, tools)
        except MissingTool as why:
            print(f"SKIPPED client {client.name}: {why}", flush=True)
            report.skip_client(client.name, str(why))
            continue
        except RuntimeError as why:
            fail = {"case": "installation", "result": "failed", "seconds": 0.0, "detail": str(why)}
            record(report.client(client.name), client.name, json.dumps(fail), options)
            continue
        yield client, line, extra


def list_cases(programs, target, options):
    for client, line, extra in programs:
        env = dict(environment(target, NoControl, extra))
        for phase in ([], ["--restart"]):
            out = subprocess.run([*line, "--list", *phase, "--only", options.only],
                                 env=env, capture_output=True, text=True, check=True).stdout
            for entry in map(json.loads, out.splitlines()):
                if "case" in entry:
                    print(f"{client.name}: {entry['case']}{' (restart)' if phase else ''}")


class NoControl:
    address = ""


def run_all(programs, target, control, report, options):
    """The ordinary cases, a few clients at a time; then those with restarts, all at once."""
    for client, _, _ in programs:
        report.client(client.name)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda program: run_program(
            program, target, control, report, options, []), programs))
    crashed = target.process is None or target.process.poll() is not None
    if crashed:
        print(f"{target.name} ended during the run:\n{target.log_tail()}", flush=True)
        target.restart(hard=True)
    for _ in programs:
        control.joined()

    def with_restarts(program):
        try:
            run_program(program, target, control, report, options, ["--restart"])
        finally:
            control.left()
    with ThreadPoolExecutor(max(1, len(programs))) as pool:
        list(pool.map(with_restarts, programs))


def run_program(program, target, control, report, options, phase):
    client, line, extra = program
    entry = report.client(client.name)
    began = time.monotonic()
    process = subprocess.Popen(
        [*line, *phase, "--only", options.only], env=environment(target, control, extra),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    noise = []
    drain = threading.Thread(target=lambda: noise.extend(process.stderr), daemon=True)
    drain.start()
    watchdog = threading.Timer(CLIENT_SECONDS_MAX, process.kill)
    watchdog.start()
    for text in process.stdout:
        record(entry, client.name, text, options)
    code = process.wait()
    watchdog.cancel()
    drain.join(5)
    entry["seconds"] += time.monotonic() - began
    if code != 0:
        detail = f"the case program ended with {code}\n" + "".join(noise[-40:])
        fail = {"case": "case program", "result": "failed", "seconds": 0.0, "detail": detail}
        record(entry, client.name, json.dumps(fail), options)


def record(entry, name, text, options):
    try:
        case = json.loads(text)
    except ValueError:
        return
    if "version" in case:
        entry["version"] = case["version"]
        return
    entry["cases"].append(case)
    if case["result"] != "passed" or options.verbose:
        print(f"{case['result']}: {name}: {case['case']} ({case['seconds']:.1f} s)", flush=True)
    if case["result"] == "failed":
        print("    " + case["detail"].strip().replace("\n", "\n    "), flush=True)


def conclude(report, options):
    print(report.table())
    for name, why in report.skipped_clients.items():
        print(f"SKIPPED client {name}: {why}")
    for name, case in report.failures():
        print(f"FAILED {name}: {case['case']}")
    if options.json:
        report.write_json(options.json)
    if options.junit:
        report.write_junit(options.junit)
    print(report.closing_line())
    return 1 if report.count("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
