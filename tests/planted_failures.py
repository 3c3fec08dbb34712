"""Whether a run found what was planted in the demo mixture."""

import re


def is_traced(summary, planted):
    """Whether a trace of the planted rubric names the trigger and, first, a chunk behind it."""
    for trace in summary["traces"]:
        if trace["rubric"] != planted["rubric"] or not trace["trigger"]:
            continue
        says_trigger = re.search(planted["pattern"], trace["trigger"].lower())
        if says_trigger and trace["chunks"][0]["chunk"] in planted["chunks"]:
            return True
    return False
