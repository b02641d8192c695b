"""What agents have in common that learn how users click, from slates and clicks, and plan their slates by it."""

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.artifacts import Artifact
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.common.progress import note
from gems_gym.common.threads import one_thread
from gems_gym.policies.base import Observed
from gems_gym.trackers import trackers
from gems_gym.user_splits import UserSeed
from gems_gym_agents.base import Evaluate, run_arguments
from gems_gym_agents.layers import describe_world
from gems_gym_agents.slate_agent import SlateAgent
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.options import SEARCH_STEPS, LogOptions
from gems_gym_agents.user_model.search import SearchState, search_plan

_MODEL = "model."
"""Before the names of the model's arrays, where an unfinished run keeps them."""
_OF_RUN = ("arguments", "versions")
"""What an unfinished run adds to the header that it is given."""

Options = TypeVar("Options", bound=LogOptions)
PlanningPolicy = TypeVar("PlanningPolicy", bound=Any)


class Stages(Protocol):
    """The module that holds an agent's two stages before the search for a plan."""

    @property
    def item_embeddings(self) -> Callable[..., NDArray[np.floating]]:
        """Options, users, random seed, seed, progress -> embeddings, one item a row."""
        ...

    @property
    def learn_model(self) -> Callable[..., Any]:
        """Options, users, embeddings, random seed, seed, progress -> the model."""
        ...


class PlanningAgent(SlateAgent[Options, PlanningPolicy]):
    """An agent that learns a model of users and plans by it; it observes the last slate and its clicks."""

    observes: ClassVar[Observed] = "slates"
    libraries: ClassVar[tuple[str, ...]] = ("numba", "numpy", "scipy")
    """Distributions that it computes with."""

    @checked_arguments
    @one_thread()
    def fit(
        self,
        source: VectorEnv[Any, Any, Any],
        *,
        steps: Count = SEARCH_STEPS,
        seed: UserSeed,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Evaluate | None = None,
        progress: bool = True,
    ) -> None:
        """Learn from scratch.

        Args:
            source: A slate vector environment of any number of users, which does not change the result; from some
                hundreds on it takes the least time. Nothing of it is used but slates and clicks.
            steps: Interactions (users times steps) of the search for a plan, ≥ 1, rounded to whole generations; the
                logs, which the options say, come on top. The recipe's are
                :data:`~gems_gym_agents.user_model.options.SEARCH_STEPS`.
            seed: Decides everything random, and which users are met; the same seed gives the same agent.
            directory: Keeps what an interrupted run resumes from until the agent is saved; None keeps nothing.
            device: ``"cpu"``; there is no other.
            evaluate: Scores a policy on validation users, higher is better: a plan that is no better than the one that
                the search started from is not kept.
            progress: Whether to show progress bars on stderr.

        Raises:
            TypeError: ``source`` is no slate vector environment.
            ValueError: An argument out of its range, or the directory holds an unfinished run of other arguments.
            ImportError: A library that it learns with is not installed.
        """
        self._check_device(device)
        users = SlateUsers(source)
        world = {"num_items": users.num_items, "slate_size": users.slate_size} | describe_world(source)
        own = {"steps": steps, "seed": seed, "world": world}
        arguments = run_arguments(self.name, self.options, evaluate, self.libraries, **own)
        run = Unfinished.within(directory, arguments)
        self._policy = self._train(users, run, steps, seed, evaluate, progress)
        self._seed, self._finished = seed, True

    @abc.abstractmethod
    def _stages(self) -> Stages:
        """How embeddings and model are learned."""

    def _train(
        self,
        users: SlateUsers,
        run: Unfinished,
        steps: int,
        seed: int,
        evaluate: Evaluate | None,
        progress: bool,
    ) -> PlanningPolicy:
        """Learn embeddings, model and plan; ``run`` keeps each that is finished. Arguments else as of :meth:`fit`."""
        stages, policy_class = self._stages(), self.policy_class
        streams = np.random.SeedSequence(seed).spawn(3)
        with run.resuming() as saved:
            tensors = {} if saved is None else dict(saved.tensors)
            header = (
                {}
                if saved is None
                else {name: saved.header[name] for name in saved.header if name not in _OF_RUN}
            )
            model = None if saved is None or "metadata" not in header else self._model_in(saved)
        if "embeddings" not in tensors:
            embeddings = stages.item_embeddings(self.options, users, streams[0], seed, progress)
            # in the order of memory in which a resumed run reads them, on which sums' last bits depend
            tensors["embeddings"] = np.ascontiguousarray(embeddings)
            run.save(tensors, header)
        if model is None:
            model = stages.learn_model(self.options, users, tensors["embeddings"], streams[1], seed, progress)
            tensors |= {_MODEL + name: array for name, array in model.tensors().items()}
            header = model.header()
            run.save(tensors, header)
        first, spread = policy_class.search_start(model)
        kept = SearchState.kept_in(tensors, header)
        start = SearchState.start(first, spread, np.random.default_rng(streams[2]))
        folder = None if run.folder is None else run.folder.parent
        with trackers(self.name, folder, anew=kept is None) as tracked:
            plan = search_plan(
                policy_class,
                model,
                users,
                seed=seed,
                steps=steps,
                state=kept or start,
                keep=lambda reached: reached.keep(run, tensors, header),
                measured=tracked,
                progress=progress,
            )
        searched, unsearched = (policy_class(model, one) for one in (plan, first))
        if progress and searched.verdict is not None:
            note(searched.verdict)
        best: PlanningPolicy = searched if evaluate is None else max(searched, unsearched, key=evaluate)
        return best

    def _model_in(self, saved: Artifact) -> Any:
        tensors = {name.removeprefix(_MODEL): array for name, array in saved.tensors.items()}
        return self.policy_class.model_class.from_parts(tensors, saved.header)

    @property
    def logged_interactions(self) -> int:
        """Slates of the logs that it learns from, where no session ends earlier than they do."""
        return self.options.logged_interactions

    @classmethod
    def policy_from_artifact(cls, artifact: Artifact) -> PlanningPolicy:
        """Read a policy that is one file, shipped or :meth:`save`'s."""
        read: PlanningPolicy = cls.policy_class.from_artifact(artifact)
        return read
