"""What a run printed, counted: the table, the JSON and JUnit files, the closing line."""

import json
import xml.etree.ElementTree as xml


class Report:
    def __init__(self, target_name):
        self.target_name = target_name
        self.target_version = ""
        self.clients = {}
        self.skipped_clients = {}

    def client(self, name):
        return self.clients.setdefault(name, {"version": "", "cases": [], "seconds": 0.0})

    def skip_client(self, name, why):
        self.skipped_clients[name] = why

    def count(self, result, client=None):
        chosen = [self.clients[client]] if client else self.clients.values()
        return sum(case["result"] == result for entry in chosen for case in entry["cases"])

    def table(self):
        rows = [("client", "version", "passed", "failed", "skipped", "seconds")]
        for name, entry in self.clients.items():
            counts = [str(self.count(result, name)) for result in ("passed", "failed", "skipped")]
            rows.append((name, entry["version"], *counts, f"{entry['seconds']:.1f}"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
        return "\n".join([f"against {self.target_version or self.target_name}:", *lines])

    def failures(self):
        for name, entry in self.clients.items():
            for case in entry["cases"]:
                if case["result"] == "failed":
                    yield name, case

    def closing_line(self):
        skipped = self.count("skipped") + len(self.skipped_clients)
        return f"{self.count('passed')} passed, {self.count('failed')} failed, {skipped} skipped"

    def write_json(self, path):
        with open(path, "w") as out:
            json.dump({"target": self.target_name, "target_version": self.target_version,
                       "clients": self.clients, "skipped_clients": self.skipped_clients},
                      out, indent=1)

    def write_junit(self, path):
        root = xml.Element("testsuites")
        for name, entry in self.clients.items():
            suite = xml.SubElement(root, "testsuite", name=f"{name} on {self.target_name}",
                                   tests=str(len(entry["cases"])),
                                   failures=str(self.count("failed", name)))
            for case in entry["cases"]:
                node = xml.SubElement(suite, "testcase", classname=name, name=case["case"],
                                      time=f"{case['seconds']:.3f}")
                if case["result"] == "failed":
                    xml.SubElement(node, "failure").text = case["detail"]
                if case["result"] == "skipped":
                    xml.SubElement(node, "skipped")
        xml.ElementTree(root).write(path, encoding="unicode")
