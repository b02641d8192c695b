"""What a policy is, and the base of the ones that need no training."""

import abc
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import gymnasium
import numpy as np
from annotated_types import Ge
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.common.checks import Checked, checked, checked_arguments
from gems_gym.errors import unknown_name
from gems_gym.simulator import SlateSimulator

_POLICY_STREAM = 1
"""Keeps a policy's random numbers apart from those of the user with the same seed."""


Observed = Literal["slates", "beliefs"]
"""What a policy sees: the last slate and its clicks, or a belief (see :mod:`gems_gym.beliefs`)."""

Shown = Literal["slates", "latents"]
"""What a policy chooses: the items themselves, or a latent that a ranker turns into them."""


@runtime_checkable
class Policy(Protocol):
    """Chooses actions for many users in lockstep: all that logging, collection, evaluation and studies need.

    What a policy remembers of its sessions, and what it draws, is a state apart from the policy, so one policy can
    play several sets of sessions side by side. A policy without memory has the state None.

    A policy that remembers what its actions earned has a method ``rewarded(state, rewards) -> state``, which whoever
    plays calls after each step (:func:`tell_rewards`): ``rewards`` is float ``(num_users,)``, clicks.

    A policy may have a text ``caution``, which ``gems-gym evaluate`` tells whoever scores it; and one that sees slates
    and shows slates the numbers ``num_items`` and ``slate_size``, so that it is served without the world (see
    :mod:`gems_gym.serving`).

    Attributes:
        observes: What it sees, "slates" or "beliefs".
        actions: What it chooses, "slates" or "latents".

    Examples:
        >>> import gymnasium, gems_gym
        >>> env = gymnasium.make_vec("GemsSlate-diffuse_mix-v0", num_envs=3)
        >>> policy = make_policy("random", env)
        >>> observations, _ = env.reset(seed=[7, 8, 9])
        >>> state = policy.open([7, 8, 9])
        >>> slates, state = policy.act(state, observations)
        >>> slates.shape
        (3, 10)
    """

    observes: Observed
    actions: Shown

    def open(self, seeds: Sequence[int]) -> Any:
        """Begin new sessions.

        Args:
            seeds: The users' seeds, those that the environment is reset with: whatever is random about the
                policy comes from them, user by user, so it does not depend on who else is served.

        Returns:
            The state of these sessions.
        """
        ...

    def act(self, state: Any, observations: Any) -> tuple[NDArray[Any], Any]:
        """Choose every user's action.

        Args:
            state: What :meth:`open`, or the call before, returned. It may be changed in place: use it once.
            observations: What the environment returned last: of one user, or batched.

        Returns:
            An action of the environment's action space, or a batch of them; and the state to continue with.
        """
        ...


def observed_by(agent_class: Any) -> Observed:
    """What an agent sees: its class attribute ``observes``, beliefs if it has none."""
    observed: Observed = getattr(agent_class, "observes", "beliefs")
    return observed


def chosen_by(agent_class: Any) -> Shown:
    """What an agent chooses: its class attribute ``actions``, latents if it has none."""
    chosen: Shown = getattr(agent_class, "actions", "latents")
    return chosen


def tell_rewards(policy: Policy, state: Any, rewards: NDArray[Any]) -> Any:
    """Tell a policy what the actions of its last step earned, if it is one that remembers that.

    Args:
        policy: Whose actions they were.
        state: The state that :meth:`Policy.act` returned with them.
        rewards: Clicks, ``(num_users,)``.

    Returns:
        The state to continue with.
    """
    rewarded = getattr(policy, "rewarded", None)
    return state if rewarded is None else rewarded(state, rewards)


def tell_shown(policy: Policy, state: Any, actions: NDArray[Any]) -> Any:
    """Tell a policy what was done instead of its last actions, if it is one that remembers them.

    Args:
        policy: Whose actions they were to be.
        state: The state that :meth:`Policy.act` returned with them.
        actions: What was done, in the form of its actions.

    Returns:
        The state to continue with.
    """
    showed = getattr(policy, "showed", None)
    return state if showed is None else showed(state, actions)


def as_policy(name: str, policy: object) -> Policy:
    """Return what was given, if it is a policy.

    Args:
        name: The argument's name, for the message.
        policy: What was given for it.

    Raises:
        TypeError: It lacks one of the members of :class:`Policy`.
    """
    if not isinstance(policy, Policy) or isinstance(policy, type):
        raise TypeError(
            f"{name} must have observes, actions, open(seeds) and act(state, observations) (see "
            f"gems_gym.policies.Policy); got {policy!r}"
        )
    return policy


@dataclass
class MemorylessPolicy(Checked):
    """A function of the observations as a policy: it neither remembers nor draws anything.

    Attributes:
        function: Observations ``(num_users, …)`` to actions ``(num_users, …)``.
        observes: See :class:`Policy`.
        actions: Likewise.
    """

    function: Callable[[Any], NDArray[Any]]
    observes: Observed = "beliefs"
    actions: Shown = "latents"

    def open(self, seeds: Sequence[int]) -> None:
        """Nothing to begin."""

    def act(self, state: None, observations: Any) -> tuple[NDArray[Any], None]:
        """Choose every user's action; see :class:`Policy`."""
        return self.function(observations), None


class SlatePolicy(abc.ABC):
    """A policy that sees slates and clicks and shows slates; bound to the environment that it acts in.

    The same object serves a single environment and a vector environment.

    Args:
        env: A slate environment, wrapped or not, single or vector.

    Attributes:
        observes: "slates".
        actions: "slates".
        privileged: Whether the policy reads what an agent can't see (the user's preference, the item topics).
        searches: Whether it plays sessions with training users when it is made; then it takes ``seed``, which decides
            the search, and ``progress``.
        simulator: The environment's simulator.
    """

    observes: Observed = "slates"
    actions: Shown = "slates"
    privileged: ClassVar[bool] = False
    searches: ClassVar[bool] = False

    def __init__(self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> None:
        simulator = getattr(env.unwrapped, "simulator", None)
        if not isinstance(simulator, SlateSimulator):
            raise TypeError(f"env must be a slate environment of gems_gym, got {env}")
        self.simulator = simulator
        self._is_vector = isinstance(env.unwrapped, VectorEnv)

    def open(self, seeds: Sequence[int]) -> Any:
        """Begin new sessions; see :class:`Policy`."""
        seeds = checked("seeds", seeds, tuple[Annotated[int, Ge(0)], ...])
        if len(seeds) != self.simulator.num_users:
            raise ValueError(
                f"seeds must hold one seed per user, {self.simulator.num_users}; got {len(seeds)}"
            )
        return self.start([policy_rng(seed) for seed in seeds])

    def start(self, rngs: Sequence[np.random.Generator]) -> Any:
        """Make the state of new sessions from one generator a user; None unless a policy overrides it."""
        return None

    def act(self, state: Any, observations: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int64], Any]:
        """Choose every user's slate.

        Args:
            state: See :class:`Policy`.
            observations: ``slate`` and ``clicks``, each ``(slate_size,)`` or ``(num_users, slate_size)``.

        Returns:
            int64 slates of the same shape, and the state.
        """
        slates = self.slates(state, observations)
        return (slates if self._is_vector else slates[0]), state

    @abc.abstractmethod
    def slates(self, state: Any, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``; a state is changed in place."""


def policy_rng(seed: int) -> np.random.Generator:
    """The generator of a policy's randomness for the user with this seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_POLICY_STREAM,)))


@checked_arguments
def make_policy(name: str, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any], **options: Any) -> Policy:
    """Make a policy by its name, for an environment.

    Args:
        name: A name in the entry-point group ``gems_gym.policies``.
        env: The environment that it acts in, single or vector.
        **options: Handed to the policy.

    Raises:
        ValueError: An unknown name or option; the message names the nearest.
    """
    check_policy_options(name, options)
    found: Policy = plugins.load(plugins.POLICIES, name)(env, **options)
    return found


@checked_arguments
def check_policy_options(name: str, options: Iterable[str]) -> None:
    """Raise a clear error unless a policy has options of these names.

    Args:
        name: A name in the entry-point group ``gems_gym.policies``.
        options: The options' names.

    Raises:
        ValueError: An unknown name or option; the message names the nearest.
    """
    signature = inspect.signature(plugins.load(plugins.POLICIES, name))
    _, *parameters = signature.parameters.values()  # the first one is the environment
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    known = [one.name for one in parameters]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of the policy {name!r}:", option, known)
