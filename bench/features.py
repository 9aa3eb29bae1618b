"""What the features of a queue cost: the same messages through a plain queue and through one with
the feature, on Crossdock and on RabbitMQ. `bench/run.py --features` runs it.

Every message is published, confirmed, delivered and acknowledged; the figure is the server's CPU seconds
for a million of them. A pair runs back to back, and repetitions are the outer loop.
"""

from dataclasses import dataclass, field
from statistics import median

from subjects import Run, Subject, crossdock, rabbitmq

SIZE = 100
US, THEM = "crossdock", "rabbitmq"
SUBJECTS = [
    Subject(US, "Crossdock, sync before every acknowledgement", crossdock, []),
    Subject(THEM, "RabbitMQ, classic durable queue, confirms", rabbitmq, []),
]
MESSAGES = {US: 600_000, THEM: 60_000}

# Least CPU of RabbitMQ for each of ours, where it has the feature.
TIMES_MIN = 8

DELAY_MS = 1000
DELAYED = {"delay": DELAY_MS, "exchange": "bench-later"}


@dataclass(frozen=True)
class Feature:
    """What the messages bear in both runs, and what makes the queue one with the feature on either server;
    `bound` is the most that it may cost us, in times the plain queue, if that is gated."""

    name: str
    ours: dict
    theirs: dict | None
    bound: float | None = None
    messages: dict = field(default_factory=dict)


FEATURES = [
    Feature("priority (10 levels)", {"arguments": "x-max-priority=9"},
            {"arguments": "x-max-priority=9"}, 1.3, {"priorities": 10}),
    Feature("time to live", {"arguments": "x-message-ttl=600000"},
            {"arguments": "x-message-ttl=600000"}, 1.3),
    Feature("delivery limit (quorum)", {"qtype": "quorum", "arguments": "x-delivery-limit=20"},
            {"qtype": "quorum", "arguments": "x-delivery-limit=20"}, 1.3),
    Feature("duplicate detection", {"arguments": "x-message-deduplication=true"},
            None, 1.3, {"ids": 1}),
    Feature("order by key (10,000 keys)", {"arguments": "x-order-key=key"},
            None, 2, {"keys": 10_000}),
    Feature("delay (1 s)", {**DELAYED, "etype": "x-delayed-message"}, {"held": DELAY_MS}, 2),
    Feature("length limit", {"arguments": "x-max-length=10000000"},
            {"arguments": "x-max-length=10000000"}),
    Feature("reject when full", {"arguments": "x-max-length=10000000,x-overflow=reject-publish"},
            {"arguments": "x-max-length=10000000,x-overflow=reject-publish"}),
    Feature("single active consumer", {"arguments": "x-single-active-consumer=true"},
            {"arguments": "x-single-active-consumer=true"}),
    Feature("retry policy", {"arguments": "x-delayed-retry-type=all,x-delayed-retry-min=100"}, None),
    Feature("cap in flight", {"arguments": "x-max-in-flight=100000"}, None),
]


def runs(feature, subject, mode):
    """The plain run and the one with the feature, or none where the server has no such feature;
    `life`: all is published, then consumed; `flow`: both at once."""
    options = feature.ours if subject.name == US else feature.theirs
    if options is None:
        return []
    messages = MESSAGES[subject.name]

    def run(label, **more):
        return Run(label, "amqp", "drv_amqp", mode, messages, SIZE,
                   options={**feature.messages, **more})
    return [run(f"{feature.name}: plain"), run(f"{feature.name}: with", **options)]


class Costs:
    """CPU seconds for a million messages, by server and feature: pairs of plain and with."""

    def __init__(self, chosen):
        self.chosen = chosen
        self.pairs = {}
        self.missing = {}

    def add(self, subject, feature, rows):
        failed = [row["error"] for row in rows if "error" in row]
        if failed:
            print(f"    {subject.name}: {feature.name}: {failed[0]}", flush=True)
            self.missing.setdefault((subject.name, feature.name), failed[0])
            return
        pair = tuple(row["server_cpu"] for row in rows)
        self.pairs.setdefault((subject.name, feature.name), []).append(pair)
        print(f"{subject.name:10} {feature.name:28} plain {pair[0]:7.3f} with {pair[1]:7.3f} CPU-s/M  "
              f"stolen {max(row['stolen_percent'] for row in rows):.1f} %", flush=True)

    def medians(self, name, feature):
        """Plain, with, and the median of their ratios; None where there is no run."""
        pairs = self.pairs.get((name, feature.name))
        if not pairs:
            return None
        return (median(plain for plain, _ in pairs), median(cost for _, cost in pairs),
                median(cost / max(plain, 1e-9) for plain, cost in pairs))

    def print_table(self):
        """Prints the table, then the gates and the closing line; gives how many failed."""
        print("\nServer CPU seconds for a million messages of 100 B, published, confirmed, delivered and "
              "acknowledged.\n")
        print("| feature | us plain | us with | ratio | RabbitMQ plain | RabbitMQ with | times us |")
        print("|---|---|---|---|---|---|---|")
        gates = []
        for feature in self.chosen:
            ours, theirs = self.medians(US, feature), self.medians(THEM, feature)
            times = theirs[1] / max(ours[1], 1e-9) if ours and theirs else None
            cells = [f"{ours[0]:.2f}", f"{ours[1]:.2f}", f"{ours[2]:.2f}"] if ours else ["-"] * 3
            cells += [f"{theirs[0]:.1f}", f"{theirs[1]:.1f}"] if theirs else ["-"] * 2
            cells.append(f"{times:.1f}" if times else "-")
            print(f"| {feature.name} | " + " | ".join(cells) + " |")
            if feature.bound:
                gates.append((f"{feature.name}: times the plain queue", ours and ours[2],
                              lambda value, most=feature.bound: value <= most,
                              f"at most {feature.bound:g}"))
            if feature.theirs is not None:
                gates.append((f"{feature.name}: RabbitMQ's CPU beside ours", times,
                              lambda value: value >= TIMES_MIN, f"at least {TIMES_MIN}"))
        counts = {"passed": 0, "FAILED": 0, "not run": 0}
        print()
        for name, value, holds, bound in gates:
            verdict = "not run" if value is None else "passed" if holds(value) else "FAILED"
            counts[verdict] += 1
            told = "-" if value is None else f"{value:.2f}"
            print(f"{verdict:7} {name}: {told}, {bound}")
        print(f"\n{counts['passed']} passed, {counts['FAILED']} failed, {counts['not run']} skipped")
        return counts["FAILED"]
