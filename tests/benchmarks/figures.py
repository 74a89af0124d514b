"""Figures that a benchmark measured, beside their goals."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value and whether it reaches its goal."""

    name: str
    goal: str
    measured: str
    reached: bool | None
    """None where there is no goal."""


def at_most(name: str, goal: float, measured: float, form: str, unit: str = "") -> Figure:
    """A figure that must not be greater than its goal."""
    return Figure(name, f"<= {goal:g}{unit}", f"{measured:{form}}{unit}", measured <= goal)


def at_least(name: str, goal: float, measured: float, form: str, unit: str = "") -> Figure:
    """A figure that must not be less than its goal."""
    return Figure(name, f">= {goal:g}{unit}", f"{measured:{form}}{unit}", measured >= goal)


def plain(name: str, measured: str) -> Figure:
    """A figure without a goal."""
    return Figure(name, "", measured, None)


def print_figures(figures: Iterable[Figure]) -> None:
    """Print a table of figures, and how busy the machine was."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\nfigures ({os.cpu_count()} cores, load average {load})")
    print(f"{'figure':56} {'goal':>12} {'measured':>12}")
    for figure in figures:
        verdict = {True: "reached", False: "MISSED", None: ""}[figure.reached]
        print(f"{figure.name:56} {figure.goal:>12} {figure.measured:>12}  {verdict}")
