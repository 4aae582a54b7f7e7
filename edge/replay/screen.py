"""What a person sees of a replay: facts, progress, and what was proven."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Final

import rich.console
import rich.progress
import rich.table

from edge.replay import proof, selling
from edge.replay.stocking import Step

#: Of each kind; more are the same defect again.
DIFFERENCES_SHOWN: Final = 3


class Screen:
    """Writes to standard output; progress moves on a terminal only."""

    def __init__(self) -> None:
        self._console = rich.console.Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    @contextlib.contextmanager
    def phase(self, name: str, total: int) -> Iterator[Step]:
        """Shows how a part of the work goes on, and when it is done how much it was and how long it took."""
        begun = time.monotonic()
        columns = (
            rich.progress.TextColumn("{task.description:<14}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeRemainingColumn(),
        )
        bar = rich.progress.Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        )
        with bar:
            task = bar.add_task(name, total=total)
            yield lambda done: bar.advance(task, done)
        self.say(f"{name:<14} {total:>9,}   {time.monotonic() - begun:8.1f} s")

    def facts(self, facts: Sequence[tuple[str, int]]) -> None:
        """What the slice holds; what it doesn't hold is left out."""
        table = rich.table.Table("In the data", rich.table.Column("", justify="right"))
        for name, number in facts:
            if number:
                table.add_row(name, f"{number:,}")
        self._console.print(table)

    def speed(self, tally: selling.Tally, earlier: int, retries: int) -> None:
        """How selling went."""
        if not tally.answers:
            self.say(f"All {earlier:,} sales had been recorded before.")
            return
        text = f"{len(tally.answers):,} sales in {tally.seconds:,.1f} s: {tally.per_second:,.0f} a second"
        text += f", half within {tally.percentile_ms(0.5):,.0f} ms, 99 % within {tally.percentile_ms(0.99):,.0f} ms"
        text += f"; {earlier:,} had been recorded before" if earlier else ""
        self.say(text + (f"; {retries:,} calls were sent again." if retries else "."))

    def proven(self, report: proof.Report) -> None:
        """What was compared, and every kind of difference; the first of each kind in words."""
        wrong = {check: [one for one in report.differences if one.check == check] for check in proof.CHECKS}
        numbers = [rich.table.Column(title, justify="right") for title in ("Figures", "Different")]
        table = rich.table.Table("Proven against the data", *numbers)
        for check in proof.CHECKS:
            style = "red" if wrong[check] else None
            table.add_row(check, f"{report.compared[check]:,}", f"{len(wrong[check]):,}", style=style)
        self._console.print(table)
        for differences in wrong.values():
            for difference in differences[:DIFFERENCES_SHOWN]:
                self.say(proof.story(difference))
            if len(differences) > DIFFERENCES_SHOWN:
                self.say(f"  … and {len(differences) - DIFFERENCES_SHOWN:,} more of these.")
        for letter in report.dead_letters:
            self.say(letter)
