"""The sync histogram of a running Crossdock, from its Prometheus page."""

import re
import urllib.request

BUCKET = re.compile(r'^(\w*sync\w*_bucket)\{(?:[^}]*,)?le="([^"]+)"[^}]*\} (\S+)')


def read_syncs(target):
    """Cumulative (upper bound in seconds, count) pairs; empty where there is no such page."""
    port = target.ports.get("admin") if target else None
    if not port:
        return []
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()
    except OSError:
        return []
    return parse(page.decode())


def parse(page):
    found = {}
    for line in page.splitlines():
        match = BUCKET.match(line)
        if match:
            name, bound, count = match.groups()
            found.setdefault(name, []).append((float(bound.replace("+Inf", "inf")), float(count)))
    return sorted(next(iter(found.values()), []))


def describe(histogram):
    """Count and percentiles (upper bounds of buckets) in words."""
    if not histogram or histogram[-1][1] == 0:
        return "no sync histogram"
    total = histogram[-1][1]
    parts = [f"{total:.0f} syncs"]
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        bound = next(bound for bound, count in histogram if count >= total * share)
        parts.append(f"{name} <= {bound * 1000:g} ms")
    return ", ".join(parts)
