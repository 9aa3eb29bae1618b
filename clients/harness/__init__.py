"""The harness of the client cases: targets, toolchains, runs and their report."""
