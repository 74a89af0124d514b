"""The base of all operators here: errors that say whether a retry helps, steps proven by receipts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.lifecycle.errors import Rejected, Transient
from mlops.business_time import Context
from mlops.hooks.connections import airflow_connection
from mlops.hooks.store import StoreHook
from mlops.links import AddressLink

if TYPE_CHECKING:
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn the lifecycle's errors into Airflow's: Transient is retried, Rejected is not."""
    try:
        yield
    except Rejected as error:
        raise AirflowFailException(str(error)) from None
    except Transient as error:
        raise AirflowException(str(error)) from None


class LifecycleOperator(BaseOperator):
    """An operator whose work is `perform`, in the lifecycle's words."""

    def execute(self, context: Context) -> Any:
        """Do the work; the lifecycle's errors become Airflow's."""
        self.addresses: dict[type[AddressLink], str] = {}
        with airflow_errors():
            return self.perform(context)

    @abstractmethod
    def perform(self, context: Context) -> Any:
        """The operator's work; what it returns goes to XCom and is small."""

    @property
    def store(self) -> Store:
        """The store that the project's setting names."""
        return StoreHook().get_conn()


class StepOperator(LifecycleOperator):
    """Runs one step, and succeeds only with its valid receipt."""

    @abstractmethod
    def plan(self, context: Context, store: Store) -> Call:
        """The call to run."""

    def perform(self, context: Context) -> dict[str, Any]:
        """Run the call, or adopt the receipt that proves it was run."""
        from include.lifecycle.steps.running import run_step

        store = self.store
        receipt, adopted = run_step(self.plan(context, store), store, airflow_connection)
        done = {"run_key": receipt.run_key, "counts": receipt.counts, **self.summary(receipt)}
        self.log.info("%s: %s", "done before, its receipt is valid" if adopted else "done", done)
        self.after(context, receipt, store)
        return done

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """What follows from the receipt: links, ledger entries, asset events."""

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """Small results for people and later tasks."""
        return {}
