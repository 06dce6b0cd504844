"""The engine that spreads samples over a Ray cluster: scheduling, retries and placement are Ray's.

One model per worker; a worker does one sample after another. A worker or node that dies is started again by Ray, on whichever machine, and
the sample that it had is done again: what a sample gives depends on the plan and its name alone. Workers give files as bytes and this
process writes them, so that results need no shared disk; the data set and the models have to be at the same paths everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from .plan import Plan
from .work import Files, Task, Worker, failed

RETRIES = 4
"""Times that a sample is given out again after its worker died. Then it is a row with an error: it may be what kills them."""


@dataclass(frozen=True)
class Cluster:
    """An `Engine`.

    workers: how many models at once.  gpus: of each, fractions for models that share a card; 0 for none.  address: of a running cluster,
    "auto" for the one that this machine belongs to; None: this machine alone.  Raises: ValueError where ray is not installed, no cluster
    answers, or it is too small.
    """

    workers: int = 1
    gpus: float = 0.0
    address: str | None = None

    def __call__(self, plan: Plan, tasks: Iterable[Task], prompts: Sequence[tuple[str, str]]) -> Iterator[tuple[Task, Files]]:
        try:
            import ray
        except ModuleNotFoundError:
            raise ValueError("--engine ray needs ray; run: pip install 'comfyui-dragfield[cluster]', or leave it out") from None
        ours = not ray.is_initialized()
        if ours:
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
            except ConnectionError:
                raise ValueError(f"no Ray cluster answers at {self.address}; start one by: ray start --head") from None
        try:
            self._check(ray.cluster_resources())
            yield from self._spread(ray, plan, tasks, prompts)
        finally:
            if ours:
                ray.shutdown()

    def _spread(self, ray, plan: Plan, tasks: Iterable[Task], prompts: Sequence[tuple[str, str]]) -> Iterator[tuple[Task, Files]]:
        kind = ray.remote(num_cpus=1, num_gpus=self.gpus, max_restarts=-1, max_task_retries=RETRIES, scheduling_strategy="SPREAD")(Worker)
        told, tasks = ray.put(tuple(prompts)), iter(tasks)
        workers = [kind.remote(plan, told) for _ in range(self.workers)]
        at_work = {worker.do.remote(task): (worker, task) for worker, task in zip(workers, islice(tasks, len(workers)), strict=False)}
        try:
            while at_work:
                (done,), _ = ray.wait(list(at_work), num_returns=1)
                worker, task = at_work.pop(done)
                try:
                    files = ray.get(done)
                except ray.exceptions.RayActorError:
                    files = failed(plan, task, f"its worker died {RETRIES + 1} times; is the memory enough?")
                for following in islice(tasks, 1):
                    at_work[worker.do.remote(following)] = (worker, following)
                yield task, files
        finally:
            for worker in workers:
                ray.kill(worker)

    def _check(self, have: dict[str, float]) -> None:
        for what, asked in (("CPU", float(self.workers)), ("GPU", self.workers * self.gpus)):
            if asked > have.get(what, 0) + 1e-6:
                raise ValueError(
                    f"{self.workers} workers ask for {asked:g} {what}s and the cluster has {have.get(what, 0):g}; use fewer, or smaller "
                    "parts of a GPU"
                )
