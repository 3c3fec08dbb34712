"""Signs of life: what is being done, how far it is, and how long it will take.

Whatever takes time opens a step and advances it. That prints nothing: who watches decides how steps
are shown. A command shows bars in a terminal and plain lines in a log, a notebook shows bars, the
explorer its status line, and a program that nobody watches nothing.

    with step("describing", total=len(texts), unit="texts") as advance:
        for text in texts:
            describe(text)
            advance(failures=1)
"""

from chunkykit.progress.displays import Bars, Display, Lines, Status
from chunkykit.progress.follow import follow_kernel
from chunkykit.progress.steps import Step, advance_step, gather_calls, groups, parts, step, waiting
from chunkykit.progress.watch import shown_by, shown_on, without_bars

__all__ = [
    "Bars",
    "Display",
    "Lines",
    "Status",
    "Step",
    "advance_step",
    "follow_kernel",
    "gather_calls",
    "groups",
    "parts",
    "shown_by",
    "shown_on",
    "step",
    "waiting",
    "without_bars",
]
