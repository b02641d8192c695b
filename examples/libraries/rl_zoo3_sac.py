"""rl-zoo3: its own program, with the settings below (this file is its --conf-file), trains SAC in a latent world."""
# /// script
# dependencies = ["gems-gym", "rl_zoo3==2.9.2"]
# ///

import subprocess
import sys
import tempfile
from pathlib import Path

hyperparams = {
    "GemsSlateLatent-diffuse_topdown-v0": {
        "policy": "MlpPolicy",
        "n_timesteps": 200,
        "gamma": 0.8,
        "learning_starts": 100,
        "env_kwargs": {"episode_length": 20},
    }
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "sac", "--gym-packages", "gems_gym"]
        command += ["--env", *hyperparams, "--conf-file", __file__, "--log-folder", folder]
        subprocess.run([*command, "--eval-freq", "100", "--eval-episodes", "2"], check=True)
        saved = {file.name for file in Path(folder).rglob("*")}
    assert {"best_model.zip", "evaluations.npz", "GemsSlateLatent-diffuse_topdown-v0.zip"} <= saved
