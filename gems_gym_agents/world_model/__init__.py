"""A recurrent world model of clicks, learned from slates and clicks, and a planner that shows slates by it.

The model is a *black box* where :mod:`gems_gym_agents.user_model` is a grey one: it is not told that vectors come in
blocks, how users drift, that they get bored or by what rule, how likely each position is looked at, or what a
monotonous slate costs. It is a network with general parts, all of them learned by gradients:

* item embeddings, from what the same people click, learned on;
* a gated recurrent state of the user, moved by clicks (a minimal GRU: gate and input depend on the clicked item only);
* tiredness of groups of items: two layers of temporal convolution over recent clicks, the same for all groups, where
  groups are clusters that the network finds;
* a click head: examination of the position × relevance, bilinear in state and item × crowding of the slate.

In the order in which data flows:

* ``network``: the model while it is learned, in torch; ``fitting``: groups, the fit, and the prior over users.
* ``model``: what was learned, as arrays.
* ``belief``: particles of the user's state, and what is remembered of clicks.
* ``planner``: slates by one-step lookahead; the search for its values is
  :mod:`gems_gym_agents.user_model.search`.
* ``agent``, ``training``: all of it as an agent of gems-gym.
"""
