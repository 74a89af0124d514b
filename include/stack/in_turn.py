"""Run several `python -m` commands in turn in one process, which pays their imports once.

`python -m include.stack.in_turn COMMANDS` with COMMANDS as JSON: a list of argument lists. Stops
at the first that fails, with its exit status.
"""

import json
import runpy
import sys


def main(commands: list[list[str]]) -> None:
    """Run the commands."""
    for command in commands:
        print(f"$ {' '.join(command)}", flush=True)
        sys.argv = command
        try:
            runpy.run_module(command[0], run_name="__main__")
        except SystemExit as exit_:
            if exit_.code:
                raise


def command(*commands: list[str]) -> list[str]:
    """Return the command line that runs `commands` in turn."""
    return [sys.executable, "-m", "include.stack.in_turn", json.dumps(commands)]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
