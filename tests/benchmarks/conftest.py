"""Rates: what benchmarks measure with, and a list behind the table of pytest-benchmark."""

import pytest


def pytest_configure(config):
    config.rates = []


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("rates (median)")
    for name, rate, unit in config.rates:
        terminalreporter.write_line(f"{name:<60} {rate:>14,.1f} {unit}/s")


@pytest.fixture
def rate(benchmark, request):
    """Runs something, and notes how many units of work it does a second (median over rounds)."""

    def measure(work, units, unit, rounds=20, **options):
        benchmark.pedantic(work, rounds=rounds, warmup_rounds=1, **options)
        rate = units / benchmark.stats.stats.median
        benchmark.extra_info[f"{unit} per second"] = round(rate)
        request.config.rates.append((request.node.name, rate, unit))

    return measure
