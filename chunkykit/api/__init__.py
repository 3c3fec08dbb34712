"""Indexes and traces as one uses them: build, open, trace, look.

    import chunkykit as ck

    index = ck.build_index("mix.jsonl", "my_index")
    trace = index.trace(query, response, rubric="refusal")
    print(trace)

The pieces are functions of the rooms below: `mixtures`, `attributes`, `index`, `turf`, `show`.
"""

from chunkykit.api.build import build_index, open_index
from chunkykit.api.index import Index, facts_html
from chunkykit.api.looking import Look, look
from chunkykit.api.trace import Trace

__all__ = ["Index", "Look", "Trace", "build_index", "facts_html", "look", "open_index"]
