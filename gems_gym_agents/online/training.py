"""Training of SAC in rounds, from one start or several; an interrupted one is resumed and ends with the same curve.

The only module of the online agents that :mod:`gems_gym_agents.online.sac` loads when ``fit`` is called: importing it
imports torch and stable-baselines3.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import stable_baselines3
import torch
from gymnasium.vector import VectorEnv

from gems_gym import __version__
from gems_gym.commands.output import plain
from gems_gym.common.progress import track
from gems_gym_agents.base import DivergedError
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online.checkpoints import CheckpointRecorder
from gems_gym_agents.online.curves import Curves
from gems_gym_agents.online.end_to_end import make_end_to_end
from gems_gym_agents.online.model import check_spaces, make_sac
from gems_gym_agents.online.options import EndToEndOptions, SACOptions
from gems_gym_agents.online.rounds import plan_rounds, start_seeds
from gems_gym_agents.online.trainee import Trainee
from gems_gym_agents.online.unfinished import UnfinishedSAC
from gems_gym_agents.online.vec_env import layers_of


def train_sac(
    options: SACOptions,
    env: VectorEnv,
    recorder: CheckpointRecorder,
    *,
    steps: int,
    seed: int,
    directory: Path | None,
    device: str,
    progress: bool,
    keep_growth: float | None = None,
) -> None:
    """Trains, leaving every validated policy and the last one in the recorder, even when interrupted or failing.

    Training is a sequence of rounds (:mod:`gems_gym_agents.online.rounds`). Each starts with fresh seeds, new users and
    new sessions, and ends with a recorded policy and a saved state. So an interrupted run in the same directory is
    resumed from its last finished round and ends with the same bits. The state stays until the agent is saved.

    At the end the mean of late policies is recorded beside them (``averaged_share``).

    Several starts play each round one after the other, and those with the worse policies are dropped. Nothing is saved,
    and nothing but the policies' scores logged, before one is left.

    Args:
        options: the settings.
        env: see :func:`make_sac`.
        recorder: gets the policies, of the best start; the last one unscored if training is interrupted.
        steps: interactions (users times steps) of a start that is not dropped, rounded up to complete vector steps.
        seed: decides everything random.
        directory: curves are written to ``directory/logs`` (CSV and TensorBoard), and what an interrupted run
            resumes from to ``directory/unfinished``; ``None``: nowhere.
        device: a torch device.
        progress: draw a bar on stderr.
        keep_growth: records policies within rounds too, whenever the interactions since ``learning_starts`` have grown
            by this share; ``None``: never.

    Raises:
        ValueError: the directory holds an unfinished run of other arguments, or ``validate_every`` is so small that
            the users of a seed do not suffice.
        KeyboardInterrupt: Ctrl-C, passed on once the last policy is recorded.
        DivergedError: the critics have left their bound.
    """
    check_spaces(env)
    rounds = plan_rounds(env, validate_every=options.validate_every, steps=steps, starts=options.starts)
    dropped = sum(one.dropped for one in rounds)
    with borrowed_global_state(device):
        arguments = run_arguments(options, env, recorder, steps, seed, device)
        run = UnfinishedSAC(directory, arguments | ({"keep_growth": keep_growth} if keep_growth else {}))

        def trainee(start_seed: int, its_recorder: CheckpointRecorder) -> Trainee:
            make: Any = make_end_to_end if isinstance(options, EndToEndOptions) else make_sac
            model = make(options, env, seed=start_seed, device=device)
            return Trainee(model, env, options, its_recorder, keep_growth)

        leader = trainee(seed, recorder)
        curves = Curves(directory, run.restore(leader.model, recorder))
        trainees = [leader]
        if leader.interactions:  # of a resumed run, which has one start left
            recorder.dropped = dropped
        elif options.starts > 1:
            seeds = start_seeds(seed, options.starts)
            trainees = [trainee(one, CheckpointRecorder(recorder.evaluate, None)) for one in seeds]
            leader = trainees[0]
        try:
            with track("SAC", rounds[-1].end + dropped, progress) as advance:
                advance(recorder.dropped + leader.interactions)
                for present in [one for one in rounds if one.end > leader.interactions]:
                    if present.starts == 1:
                        leader.lead(recorder, curves)
                    for one in trainees:
                        one.train_round(present, advance)
                    recorder.dropped += present.dropped
                    trainees = sorted(trainees, key=lambda one: one.best_score, reverse=True)[: present.left]
                    leader = trainees[0]
                    if present.left == 1:
                        leader.lead(recorder, curves)
                        run.save(leader.model, recorder, curves.text)
            if options.averaged_share:
                leader.lead(recorder, curves)  # a resumed run may have no round left
                leader.record_mean(rounds[-1].end * (1.0 - options.averaged_share))
        except BaseException as error:
            leader.record(score=False)
            leader.lead(recorder, curves)
            if isinstance(error, DivergedError):
                run.discard()  # a resumed run would end the same way
            raise
        finally:
            curves.logger.close()


def run_arguments(
    options: SACOptions, env: VectorEnv, recorder: CheckpointRecorder, steps: int, seed: int, device: str
) -> dict[str, Any]:
    """Everything that decides the result of a run, JSON types only."""
    found: dict[str, Any] = plain(
        {
            "agent": options.agent,
            "options": asdict(options),
            "steps": steps,
            "seed": seed,
            "num_envs": env.num_envs,
            "device": torch.device(device).type,
            "validation_users": getattr(recorder.evaluate, "user_seeds", None),
            "world": describe_world(env),
            "versions": {
                "gems-gym": __version__,
                "stable-baselines3": stable_baselines3.__version__,
                "torch": str(torch.__version__),
            },
        }
    )
    return found


def describe_world(env: VectorEnv) -> dict[str, Any]:
    """What an environment is: configuration, catalogue, and the digests of the ranker and the belief around it."""
    world: dict[str, Any] = {}
    for layer in layers_of(env):
        for role, name in (("ranker", "ranker"), ("encoder", "belief"), ("belief", "belief")):
            if hasattr(layer, role):
                world[name] = getattr(layer, role).sha256
    core: Any = env.unwrapped
    if hasattr(core, "config") and hasattr(core, "catalog"):
        world |= {"config": asdict(core.config), "catalog": core.catalog.hash}
    return world
