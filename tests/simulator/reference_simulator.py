"""A slow second simulator in plain Python lists, written from the specification: what the compiled one is held against.

It shares no code with ``gems_gym.simulator`` (of the configuration it reads the parameters' values alone), and it
is written differently where there is a choice, so that an error would have to be made twice to go unnoticed.
"""

import math
from collections import Counter, deque


def replay(config, item_embeddings, user_initial, first_clicks, slates, clicks, short_term_topic=None):
    """The arrays of one session, as lists, named as ``gems_gym.testing.replay_session`` names them.

    Beside them: ``relevances`` and ``first_relevances``, and ``all_scores``, every item's score at every step.
    """
    world = _World(config, [[float(value) for value in item] for item in item_embeddings])
    session = _Session(world, [float(value) for value in user_initial], first_clicks, short_term_topic)
    rows = [session.step(list(slate), list(shown)) for slate, shown in zip(slates, clicks, strict=True)]
    return {
        "item_topic": world.topics,
        "first_slate": world.first_slate,
        "first_scores": session.first["scores"],
        "first_relevances": session.first["relevances"],
        "first_click_prob": session.first["click_prob"],
        **{name: [row[name] for row in rows] for name in rows[0]},
    }


def norm(values):
    return math.sqrt(sum(value * value for value in values))


class _World:
    def __init__(self, config, items):
        self.config = config
        self.items = items
        self.num_topics, self.topic_size = config.num_topics, config.topic_size
        self.norms = [[norm(self.block(item, t)) for t in range(self.num_topics)] for item in items]
        self.topics = [row.index(max(row)) for row in self.norms]
        self.max_score = max(norm(item) for item in items)
        self.first_slate = self._first_slate()
        self.propensities = self._propensities()

    def block(self, vector, topic):
        return vector[topic * self.topic_size : (topic + 1) * self.topic_size]

    def normalised(self, user):
        total = sum(norm(self.block(user, t)) for t in range(self.num_topics))
        return [value / total for value in user] if total > 0 else user

    def _first_slate(self):
        size, everything = self.config.slate_size, range(len(self.items))
        ranked = [sorted(everything, key=lambda i: (-self.norms[i][t], i)) for t in range(self.num_topics)]
        if self.num_topics >= size:
            return [ranked[t][0] for t in range(size)]
        each = size // self.num_topics
        slate = [item for t in range(self.num_topics) for item in ranked[t][:each]]
        # the specification ends here; what is left over is the next best of topics 0, 1, …
        return slate + [ranked[t][each] for t in range(size - len(slate))]

    def _propensities(self):
        size, gamma = self.config.slate_size, self.config.click_propensity
        if self.config.propensities is not None:
            values = list(self.config.propensities)
        elif self.config.click_model == "tdPBM":
            values = [gamma**s for s in range(size)]
        else:
            values = [0.5 * gamma**s + 0.5 * gamma ** (size - 1 - s) for s in range(size)]
        threshold = self.config.prop_threshold
        return values if threshold is None else [1.0 if value > threshold else 0.0 for value in values]

    def relevance(self, score):
        if self.config.rel_threshold is not None:
            return 1.0 if score > self.config.rel_threshold else 0.0
        x = (score - self.config.relevance_offset) * self.config.relevance_slope
        return 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0

    def look(self, slate, preference, clicked_before):
        """What a user with a preference makes of a slate."""
        scores = [self.score(item, preference) for item in slate]
        relevances = [
            0.0 if item in clicked_before else self.relevance(score)
            for item, score in zip(slate, scores, strict=True)
        ]
        most_of_one_topic = max(Counter(self.topics[item] for item in slate).values())
        monotonous = most_of_one_topic >= self.config.diversity_threshold
        divisor = self.config.diversity_penalty if monotonous else 1.0
        return {
            "scores": scores,
            "relevances": relevances,
            "click_prob": [
                self.config.alpha * relevance / divisor * propensity
                for relevance, propensity in zip(relevances, self.propensities, strict=True)
            ],
        }

    def score(self, item, preference):
        return sum(x * y for x, y in zip(self.items[item], preference, strict=True)) / self.max_score


class _PublishedLog:
    """Version 0: two queues, the first slate's clicks in the first one only."""

    def __init__(self, config):
        self.window = config.boredom_moving_window
        self.topics = deque(maxlen=config.recent_items_maxlen)
        self.steps = deque(maxlen=config.recent_items_maxlen)

    def add(self, topics, step):
        self.topics.extend(topics)
        if step == 0:
            return
        self.steps.extend([step] * len(topics))
        while self.steps and self.steps[0] < step - self.window:
            self.steps.popleft()
            self.topics.popleft()

    def counts(self, step):
        return Counter(self.topics)


class _MendedLog:
    """Version 1: every click has its step, and counts in the ``window`` steps after it."""

    def __init__(self, config):
        self.window = config.boredom_moving_window
        self.clicks = deque(maxlen=config.recent_items_maxlen)

    def add(self, topics, step):
        self.clicks.extend((topic, step) for topic in topics)

    def counts(self, step):
        return Counter(topic for topic, clicked in self.clicks if step - clicked <= self.window)


class _Session:
    def __init__(self, world, user, first_clicks, short_term_topic):
        self.world, self.config, self.user = world, world.config, user
        self.t = 0
        self.bored_for = {}  # topic -> steps it stays bored, this one included; absent where it is not bored
        self.published = self.config.dynamics_version == 0
        self.log = (_PublishedLog if self.published else _MendedLog)(self.config)
        self.clicked_before = set()
        self.first = world.look(world.first_slate, user, set())
        clicked = self._clicked(world.first_slate, first_clicks)
        self._remember(clicked)
        self.short_term_topic = world.topics[clicked[-1]] if clicked else short_term_topic

    def _clicked(self, slate, clicks):
        return [item for item, click in zip(slate, clicks, strict=True) if click]

    def _remember(self, clicked):
        self.log.add([self.world.topics[item] for item in clicked], self.t)
        if self.config.click_only_once:
            self.clicked_before |= set(clicked)

    def _grow_bored(self):
        self.bored_for = {topic: left - 1 for topic, left in self.bored_for.items() if left > 1}
        for topic, count in self.log.counts(self.t).items():
            if count >= self.config.boredom_threshold:
                self.bored_for.setdefault(topic, self.config.boredom_timeout)

    def _preference(self):
        blocks = []
        for topic in range(self.world.num_topics):
            factor = self.config.short_term_boost if topic == self.short_term_topic else 1.0
            if topic in self.bored_for:
                factor = 0.0
            blocks += [factor * value for value in self.world.block(self.user, topic)]
        return blocks

    def step(self, slate, clicks):
        self.t += 1
        self._grow_bored()
        preference = self._preference()
        topic_before = self.short_term_topic
        everything = range(len(self.world.items))
        all_scores = [
            0.0 if item in self.clicked_before else self.world.score(item, preference) for item in everything
        ]
        seen = self.world.look(slate, preference, self.clicked_before)
        clicked = self._clicked(slate, clicks)
        self._remember(clicked)
        omega = self.config.omega
        for item in clicked:
            pairs = zip(self.user, self.world.items[item], strict=True)
            self.user = self.world.normalised([omega * mine + (1 - omega) * its for mine, its in pairs])
        if clicked and self.short_term_topic in self.bored_for:
            last_position = max(s for s, click in enumerate(clicks) if click)
            self.short_term_topic = self.world.topics[
                last_position if self.published else slate[last_position]
            ]
        topics = range(self.world.num_topics)
        return {
            **seen,
            "all_scores": all_scores,
            "oracle_slate": sorted(everything, key=lambda i: (-all_scores[i], i))[: len(slate)],
            "bored": [topic in self.bored_for for topic in topics],
            "bored_timeout": [self.bored_for.get(topic, self.config.boredom_timeout) for topic in topics],
            "user_after": list(self.user),
            "short_term_topic": topic_before,
        }
