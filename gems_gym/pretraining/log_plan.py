"""Which sessions to log for a training, and where from: a file, unfinished work, or the simulator."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.progress import stderr
from gems_gym.config import SlateConfig
from gems_gym.pretraining.presets import PretrainingPreset
from gems_gym.pretraining.session_log import SessionLog, collect_session_log, kept_session_log
from gems_gym.simulator import Catalog


@dataclass(frozen=True)
class LogPlan:
    """The log that a command asks for.

    Attributes:
        env_id: The world.
        path: Its file, read if it is there, else written; None: it is kept only until the work on it is finished.
        shares: Logging policy -> share of the sessions.
        sessions: Sessions to log.
        seed: Block of logging users.
        search_sessions: Sessions of the search of logging policies that search.
        session_length: Steps of a session; None: as many as in the world.
    """

    env_id: str
    path: Path | None
    shares: Mapping[str, float]
    sessions: int
    seed: int
    search_sessions: int | None = None
    session_length: int | None = None

    @staticmethod
    def of_preset(
        env_id: str, path: Path | None, preset: PretrainingPreset[Any], sessions: int | None, seed: int
    ) -> "LogPlan":
        """The log that a preset asks for, or one of another number of sessions."""
        count = preset.sessions if sessions is None else sessions
        return LogPlan(env_id, path, preset.shares, count, seed, preset.search_sessions)

    def described(self) -> dict[str, Any]:
        """The same in JSON types, with the policies in their order: it decides who logs which users."""
        path = None if self.path is None else str(self.path)
        return {**vars(self), "path": path, "shares": list(self.shares.items())}

    def session_log(self, config: SlateConfig, catalog: Catalog, work: Unfinished | None) -> SessionLog:
        """Read or collect the log; one that gets no file of its own is kept with the unfinished work."""
        if self.path is None:
            return kept_session_log(work, lambda: self._collect(config, catalog))
        if not self.path.exists():
            log = self._collect(config, catalog)
            log.save(self.path)
            return log
        log = SessionLog.load(self.path)
        if log.catalog_hash != catalog.hash:
            raise ValueError(
                f"--log {self.path} was logged on the catalogue {log.catalog_hash}, but {self.env_id} has "
                f"{catalog.hash}"
            )
        text = f"using the {log.num_sessions} sessions of {self.path}"
        stderr.print(text, highlight=False, markup=False)
        return log

    def _collect(self, config: SlateConfig, catalog: Catalog) -> SessionLog:
        return collect_session_log(
            config,
            self.shares,
            self.sessions,
            self.seed,
            search_sessions=self.search_sessions,
            session_length=self.session_length,
            item_embeddings=catalog.item_embeddings,
        )
