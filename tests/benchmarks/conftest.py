"""Rates and ratios: what benchmarks measure with, and lists behind the table of pytest-benchmark."""

import time
from statistics import median

import numpy as np
import pytest


def pytest_configure(config):
    config.rates, config.ratios = [], []


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("rates (median)")
    for name, rate, unit in config.rates:
        terminalreporter.write_line(f"{name:<60} {rate:>14,.1f} {unit}/s")
    terminalreporter.section("ratios of processor time (median)")
    for name, rate, unit, ratio, other in config.ratios:
        terminalreporter.write_line(
            f"{name:<60} {rate:>14,.1f} {unit}/s, each as long as {ratio:,.1f} {other}"
        )


@pytest.fixture
def rate(benchmark, request):
    """Runs something, and notes how many units of work it does a second (median over rounds)."""

    def measure(work, units, unit, rounds=20, warmup_rounds=1, **options):
        benchmark.pedantic(work, rounds=rounds, warmup_rounds=warmup_rounds, **options)
        rate = units / benchmark.stats.stats.median
        benchmark.extra_info[f"{unit} per second"] = round(rate)
        request.config.rates.append((request.node.name, rate, unit))

    return measure


@pytest.fixture
def note(request):
    """Runs something on each of some inputs, and notes how many units a second that is at quantiles of
    its processor times, which a busy machine changes little."""

    def measure(work, inputs, units, unit, quantiles=(0.5,), remark=""):
        work(inputs[0])
        seconds = []
        for one in inputs:
            start = time.process_time()
            work(one)
            seconds.append(time.process_time() - start)
        for quantile in quantiles:
            found = np.quantile(seconds, quantile)
            name = f"{request.node.name}, p{100 * quantile:.0f} {1e3 * found:.2f} ms{remark}"
            request.config.rates.append((name, units / found, unit))

    return measure


@pytest.fixture
def ratio(request):
    """Runs something in turns with something else, and notes how many units of that take as long as one of its own.

    Both are measured in processor time of this process, so that the ratio holds on a busy machine.
    """

    def measure(work, units, unit, other_work, other_units, other, rounds=10):
        other_work()
        work()
        seconds, ratios = [], []
        for _ in range(rounds):
            start = time.process_time()
            other_work()
            between = time.process_time()
            work()
            seconds.append((time.process_time() - between) / units)
            ratios.append(seconds[-1] * other_units / (between - start))
        request.config.ratios.append((request.node.name, 1 / median(seconds), unit, median(ratios), other))

    return measure
