"""Gymnasium: many users at once, stepped one by one, in processes, or all together: the same sessions, to the bit."""
# /// script
# dependencies = ["gems-gym", "gymnasium==1.4.0"]
# ///

import gymnasium
import numpy as np

if __name__ == "__main__":
    same_step = {
        "autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP
    }  # as in our own vector environments
    for env_id in ("gems_gym:GemsSlate-diffuse_topdown-v0", "gems_gym:GemsSlateLatent-diffuse_topdown-v0"):
        many = [
            gymnasium.make_vec(
                env_id, num_envs=3, vectorization_mode=mode, vector_kwargs=given, episode_length=5
            )
            for mode, given in (("sync", same_step), ("async", same_step), ("vector_entry_point", {}))
        ]
        for env in many:
            env.reset(seed=0)
        many[0].action_space.seed(0)
        for _ in range(8):  # over the end of a session
            action = many[0].action_space.sample()
            rewards = [env.step(action)[1] for env in many]
            assert np.array_equal(rewards[0], rewards[1])
            assert np.array_equal(rewards[0], rewards[2])
        print(env_id, "clicks of the last step:", rewards[0])
        for env in many:
            env.close()
