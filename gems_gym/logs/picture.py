"""Reports as pictures: what was imported, and how near a fitted world comes to its log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.common.pictures import new_figure, save_figure
from gems_gym.logs.fidelity import HEADS, Compared, FidelityReport
from gems_gym.logs.report import ImportReport


def draw_import_report(report: ImportReport, path: Path) -> None:
    """Draws what was left out, the lengths of sessions, clicks by slot and the concentration of items.

    Args:
        report: The report.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ValueError: Another suffix.
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    figure = new_figure(13, 7.5)
    rows, lengths, slots, items = figure.subplots(2, 2).ravel()
    title = f"{report.dataset_id}: {report.impressions:,} impressions from {report.source}"
    if (found := report.propensities) is not None:
        title += (
            f"\n1 / propensity: mean {found.mean_inverse:.1f}, effective share {found.effective_share:.1%}"
        )
    figure.suptitle(title, parse_math=False)

    names = ["kept", *report.dropped]
    rows.barh(names, [report.rows_kept, *(one["rows"] for one in report.dropped.values())])
    rows.invert_yaxis()
    rows.set(xlabel="rows of the log", title=f"{report.rows_read:,} rows")

    spread = report.session_lengths
    shares = [float(share) for share in spread.quantiles]
    lengths.plot(shares, list(spread.quantiles.values()), marker=".")
    lengths.set(xlabel="share of the sessions", ylabel="impressions, at most", xlim=(0, 1))
    lengths.set_ylim(bottom=0)
    lengths.set_title(f"{report.sessions:,} sessions, mean {spread.mean:.1f}, longest {spread.maximum:,.0f}")
    lengths.grid(alpha=0.3)

    slots.bar(range(1, len(report.slots) + 1), [100 * slot.ctr for slot in report.slots])
    slots.set(xlabel="slot", ylabel="clicks per item shown, %", title=f"{report.clicks:,} clicks")

    items.plot(np.linspace(0, 100, len(report.item_curve)), report.item_curve)
    items.plot([0, 100], [0, 1], color="grey", linewidth=1, linestyle=":")
    items.set(xlabel="most shown items, % of the item map", ylabel="share of what was shown")
    items.set_title(f"{report.concentration.effective_number:.0f} effective of {report.items:,} items")
    items.grid(alpha=0.3)
    save_figure(figure, path)


def draw_fidelity_report(report: FidelityReport, path: Path) -> None:
    """Draws the log-loss of the models, and of the log and the world clicks by position, items, and who stays.

    Args:
        report: The report.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ValueError: Another suffix.
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    figure = new_figure(13, 7.5)
    losses, slots, items, stayed = figure.subplots(2, 2).ravel()
    trusted = "with warnings" if report.warnings else "no warning"
    figure.suptitle(f"{report.dataset_id}: a fitted world on {report.later:,} later sessions, {trusted}")

    means = [one.mean for one in report.log_loss.values()]
    ends = [[one.mean - one.low, one.high - one.mean] for one in report.log_loss.values()]
    losses.errorbar(means, list(report.log_loss), xerr=np.transpose(ends), fmt="o")
    losses.invert_yaxis()
    losses.set(xlabel="nats a slot of later clicks", title="log-loss, with 95 % intervals")
    losses.grid(alpha=0.3)

    def draw(axes: Any, compared: Compared, x: Sequence[float], title: str) -> None:
        axes.plot(x, compared.log, marker=".", label="log")
        axes.plot(x, compared.world, marker=".", label="world")
        axes.set_title(f"{title}: distance {compared.distance.mean:.3f}")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()

    draw(slots, report.ctr, range(1, len(report.ctr.log) + 1), "clicks per item shown, by slot")
    draw(items, report.heads, [100 * share for share in HEADS], "share of the clicks, by % of the items")
    if report.stayed is None:
        stayed.set_axis_off()
    else:
        draw(
            stayed, report.stayed, range(1, len(report.stayed.log) + 1), "share of users who stay, by slates"
        )
    save_figure(figure, path)
