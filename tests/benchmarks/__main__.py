"""`python -m tests.benchmarks` measures everything that the documentation claims, one after the other.

With names (`python -m tests.benchmarks parsing loop`) it measures only those.
"""

from __future__ import annotations

import importlib
import sys

from tests.benchmarks.figures import Figure, print_figures

BENCHMARKS = (
    "parsing",
    "serving",
    "memory_of_server",
    "validation",
    "ingest",
    "loop",
    "canary",
    "replay",
    "backfill",
    "pods",
    "server_pods",
    "memory",
    "scoring",
)


def main(names: list[str]) -> int:
    """Run the benchmarks and print all their figures; 1 when a goal was missed, 2 for a bad name."""
    if unknown := set(names) - set(BENCHMARKS):
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for name in names or BENCHMARKS:
        print(f"\n=== {name}", flush=True)
        found = importlib.import_module(f"tests.benchmarks.{name}").run()
        print_figures(found)
        figures += found
    return int(any(figure.reached is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
