"""The base of all operators here: errors that say whether a retry helps, steps proven by receipts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, TaskDeferred

from include.lifecycle.errors import LifecycleError, Rejected, Transient
from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.profile import open_profile
from mlops.business_time import Context, actor
from mlops.hooks.connections import airflow_connection
from mlops.hooks.store import StoreHook
from mlops.links import AddressLink

if TYPE_CHECKING:
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt
    from include.lifecycle.store.usage import Attempt
    from mlops.operators.job import StepJob
    from mlops.operators.pod import StepPodOperator


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
        """Do the work; the lifecycle's errors become Airflow's, and a skip's reason is told in the log."""
        self.addresses: dict[type[AddressLink], str] = {}
        try:
            with airflow_errors():
                return self.perform(context)
        except AirflowSkipException as skip:
            # Airflow folds its own line with the reason away.
            self.log.info("skipped: %s", skip)
            raise

    @abstractmethod
    def perform(self, context: Context) -> Any:
        """The operator's work; what it returns goes to XCom and is small."""

    @property
    def store(self) -> Store:
        """The store that the project's setting names."""
        return StoreHook().get_conn()


class StepOperator(LifecycleOperator):
    """Runs one step, in this process or in a pod as the profile says, and succeeds only with its valid
    receipt. What it used, when it failed too, is written into the ledger of its model."""

    model: str = ""
    """Whose step it is; empty where it is no model's."""

    def __init__(self, *, compute: Compute | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compute = compute or Compute()
        self.noted: dict[str, Any] = {}
        """What `plan` found out and `summary` needs; it lasts while the task is deferred."""
        self._pod: StepPodOperator | StepJob | None = None

    @abstractmethod
    def plan(self, context: Context, store: Store) -> Call:
        """The call to run."""

    def perform(self, context: Context) -> dict[str, Any]:
        """Run the call, or adopt the receipt that proves it was run."""
        store = self.store
        call = self.plan(context, store)
        return self._proven(context, call, store, lambda: self._run(context, call, store))

    def resume(
        self, context: Context, event: dict[str, Any], run_key: str, noted: dict[str, Any]
    ) -> dict[str, Any]:
        """Go on after the pod was waited for."""
        from include.lifecycle.store.receipts import read_call

        self.addresses, self.noted, store = {}, noted, self.store
        with airflow_errors():
            call = read_call(run_key, store)
            return self._proven(context, call, store, lambda: self._in_pod(call).finish(context, event))

    def on_kill(self) -> None:
        """End the pod, or the pods, with the task."""
        if self._pod is not None:
            self._pod.on_kill()

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """What follows from the receipt: links, ledger entries, asset events."""

    def rejected(self, context: Context, call: Call, error: Rejected, store: Store) -> None:
        """What follows when the call can never succeed."""

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """Small results for people and later tasks."""
        return {}

    def _run(self, context: Context, call: Call, store: Store) -> Receipt:
        if open_profile().kubernetes is None:
            return self._in_process(context, call, store)
        from include.lifecycle.store.receipts import write_call

        write_call(call, store)
        return self._in_pod(call).start(context)

    def _in_process(self, context: Context, call: Call, store: Store) -> Receipt:
        from include.lifecycle.steps.metering import Meter
        from include.lifecycle.steps.running import run_step

        meter = Meter()
        try:
            receipt, adopted = run_step(call, store, airflow_connection)
        except Exception:
            self._bill_if_possible(context, call, store, meter.attempt(self.compute.gpu * meter.seconds))
            raise
        if adopted:
            self.log.info("done before: its receipt is valid")
        return receipt

    def _in_pod(self, call: Call) -> StepPodOperator | StepJob:
        # Kubernetes' client takes a second to import, which nobody needs to parse a DAG.
        from include.lifecycle.steps.together import workers_of
        from mlops.operators.job import StepJob
        from mlops.operators.pod import StepPodOperator

        timeout = self.execution_timeout
        if workers_of(call) > 1:
            self._pod = StepJob(call.run_key, self.compute, timeout)
            return self._pod
        self._pod = StepPodOperator(
            task_id=self.task_id, run_key=call.run_key, compute=self.compute, execution_timeout=timeout
        )
        return self._pod

    def _proven(
        self, context: Context, call: Call, store: Store, work: Callable[[], Receipt]
    ) -> dict[str, Any]:
        try:
            receipt = work()
        except TaskDeferred as deferred:
            self._bill_if_possible(context, call, store)
            raise TaskDeferred(
                trigger=deferred.trigger,
                method_name=self.resume.__name__,
                kwargs={"run_key": call.run_key, "noted": self.noted},
                timeout=deferred.timeout,
            ) from None
        except Exception as error:
            self._bill_if_possible(context, call, store)
            if isinstance(error, Rejected):
                self.rejected(context, call, error, store)
            raise
        self._bill(context, call, store, receipt.attempt)
        done = {"run_key": receipt.run_key, "counts": receipt.counts, **self.summary(receipt)}
        counts = ", ".join(f"{name} {count:,}" for name, count in receipt.counts.items())
        self.log.info("done, receipt %s: %s", receipt.run_key[:12], counts or "nothing to count")
        self.after(context, receipt, store)
        return done

    def _bill(self, context: Context, call: Call, store: Store, own: Attempt | None = None) -> None:
        """Write what the call's attempts used into the ledger: of its pods, and of a process."""
        if not self.model:
            return
        from include.lifecycle.release.billing import bill

        # The receipt of a pod tells of it, too, in what the process used: the first to be billed counts.
        attempts = [*(self._pod.attempts() if self._pod else ()), *([own] if own else ())]
        bill(self.model, call, attempts, store, actor(context))

    def _bill_if_possible(
        self, context: Context, call: Call, store: Store, own: Attempt | None = None
    ) -> None:
        """While something else is going on that is more important than the bill."""
        try:
            self._bill(context, call, store, own)
        except LifecycleError as error:
            self.log.warning("what this used is not in the ledger: %s", error)
