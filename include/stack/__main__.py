"""`python -m include.stack up`: run the local stack until Ctrl-C."""

import argparse
import signal
import sys
import time
from types import FrameType

from rich.console import Console

from include.stack.errors import StackError
from include.stack.home import Settings
from include.stack.stack import Stack, running_stack


def main() -> int:
    """Return 0 after Ctrl-C or SIGTERM, 1 if the stack could not run or a component died."""
    parser = argparse.ArgumentParser(prog="python -m include.stack", description=__doc__)
    parser.add_argument("command", choices=["up"], help="start everything and keep it running")
    parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False)
    try:
        up(console)
    except KeyboardInterrupt:
        console.print("stopped")
        return 0
    except StackError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    return 0


def up(console: Console) -> None:
    """Run the stack until it is interrupted or a component dies."""
    settings = Settings.from_environment()
    console.print(f"starting the stack of {settings.home} (logs in {settings.logs})")
    began = time.monotonic()
    with console.status("starting") as status:

        def say(line: str) -> None:
            console.print(f"{time.monotonic() - began:5.1f} s  {line}", markup=False, soft_wrap=True)

        with running_stack(settings, say) as stack:
            status.stop()
            _welcome(console, stack)
            stack.wait()


def _welcome(console: Console, stack: Stack) -> None:
    console.print(f"\nAirflow       {stack.airflow_url}   (user {stack.user}, password {stack.password})")
    console.print(f"MLflow        {stack.mlflow_url}")
    console.print(f"model server  {stack.server_url}")
    console.print("Ctrl-C stops everything.\n")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
