"""What the runs gave: medians, ratios to Crossdock, gates."""

from statistics import median
from syncs import describe

US = "crossdock"
COLUMNS = ["per_second", "server_cpu", "driver_cpu", "p50_us", "p99_us", "p999_us",
           "server_peak_mb", "calibration_ns", "stolen_percent"]

# (label, most CPU seconds per million messages, peer, most of the peer's CPU)
CPU_GATES = [
    ("amqp publish 100 B", 2.0, "rabbitmq-classic", 1 / 12),
    ("amqp publish 1024 B", 4.0, "rabbitmq-classic", 1 / 12),
    ("amqp consume+ack 100 B", 2.0, "rabbitmq-classic", 1 / 10),
    ("amqp consume+ack 1024 B", 2.0, "rabbitmq-classic", 1 / 10),
    ("kafka publish 100 B", 0.3, "kafka", 1 / 3),
    ("kafka publish 1024 B", 1.6, "kafka", 1 / 3),
]

# (label, column, peer, most of the peer's figure)
RATIO_GATES = [("amqp latency at 2000/s 1024 B", "p50_us", "rabbitmq-quorum", 1 / 2)]

# (label, peer, expected multiple of the peer's throughput): reported, not gated
EXPECTED = [
    ("amqp publish 100 B", "rabbitmq-classic", 8),
    ("amqp publish 100 B", "rabbitmq-quorum", 4),
    ("kafka publish 100 B", "kafka", 1),
    ("kafka publish 100 B", "mock", 0.85),
]


class Figures:
    def __init__(self, subjects):
        self.subjects = subjects
        self.rows = []
        self.missing = {}
        self.versions = {}
        self.histograms = {}

    def skip(self, subject, why):
        print(f"not run: {subject.title}: {why}", flush=True)
        self.missing[subject.name] = why

    def version(self, subject, text):
        self.versions[subject.name] = text

    def syncs(self, subject, histogram):
        if histogram:
            self.histograms[subject.name] = histogram

    def add(self, row):
        self.rows.append(row)
        if "error" not in row:
            print(f"{row['repetition'] + 1} {row['subject']:17} {row['label']:32} "
                  f"{row['per_second']:>10.0f}/s  server {row['server_cpu']:7.3f} CPU-s/M  "
                  f"driver {row['driver_cpu']:6.3f}  p50 {row.get('p50_us', '-')} us  "
                  f"stolen {row['stolen_percent']:.1f} %", flush=True)

    def median(self, subject, label, column):
        values = [row[column] for row in self.rows
                  if row["subject"] == subject and row["label"] == label and column in row]
        return median(values) if values else None

    def labels(self):
        return list(dict.fromkeys(row["label"] for row in self.rows))

    def print_tables(self):
        print("\n## Subjects")
        for subject in self.subjects:
            state = self.missing.get(subject.name)
            print(f"- {subject.name}: {subject.title}; "
                  + (f"not run: {state}" if state else self.versions.get(subject.name, "")))
        for label in self.labels():
            print(f"\n## {label}\n")
            print("| subject | messages/s | x | server CPU-s/M | x | driver CPU-s/M | p50 us "
                  "| p99 us | p99.9 us | peak MB | calibration ns | stolen % |")
            print("|---|" + "---|" * 11)
            for subject in self.subjects:
                self.print_row(subject.name, label)
        for name, histogram in self.histograms.items():
            print(f"\nsyncs of {name} in its last repetition: {describe(histogram)}")
        failed = [row for row in self.rows if "error" in row]
        for row in failed:
            print(f"\nfailed: {row['subject']}, {row['label']}: {row['error'].splitlines()[-1]}")

    def print_row(self, subject, label):
        values = {column: self.median(subject, label, column) for column in COLUMNS}
        if values["per_second"] is None:
            return
        speed = ratio(values["per_second"], self.median(US, label, "per_second"))
        cpu = ratio(values["server_cpu"], self.median(US, label, "server_cpu"))
        cells = [shown(values["per_second"]), speed, shown(values["server_cpu"]), cpu]
        cells += [shown(values[column]) for column in COLUMNS[2:]]
        print(f"| {subject} | " + " | ".join(cells) + " |")

    def print_gates(self):
        """Prints the gates and the closing line; gives how many failed."""
        print("\n## Gates\n")
        counts = {"passed": 0, "FAILED": 0, "not run": 0}

        def gate(name, value, bound):
            known = value is not None and bound is not None
            verdict = "not run" if not known else "passed" if value <= bound else "FAILED"
            counts[verdict] += 1
            print(f"{verdict:7} {name}: {shown(value)}, at most {shown(bound)}")
        for label, most, peer, share in CPU_GATES:
            ours, theirs = (self.median(who, label, "server_cpu") for who in (US, peer))
            gate(f"{label}, server CPU-s/M", ours, most)
            gate(f"{label}, server CPU-s/M beside {peer}", ours, theirs and theirs * share)
        for label, column, peer, share in RATIO_GATES:
            ours, theirs = (self.median(who, label, column) for who in (US, peer))
            gate(f"{label}, {column} beside {peer}", ours, theirs and theirs * share)
        print("\n## Throughput, expected and seen\n")
        for label, peer, multiple in EXPECTED:
            seen = ratio(self.median(US, label, "per_second"),
                         self.median(peer, label, "per_second"))
            print(f"{label}: {seen or '-'} times {peer}, expected {multiple:g}")
        print(f"\n{counts['passed']} passed, {counts['FAILED']} failed, "
              f"{counts['not run']} skipped")
        return counts["FAILED"]


def ratio(value, base):
    return f"{value / base:.2f}" if value is not None and base else ""


def shown(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
