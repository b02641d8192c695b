"""A list of rates behind the table of pytest-benchmark."""


def pytest_configure(config):
    config.rates = []


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("rates (median)")
    for name, rate, unit in config.rates:
        terminalreporter.write_line(f"{name:<60} {rate:>14,.1f} {unit}/s")
