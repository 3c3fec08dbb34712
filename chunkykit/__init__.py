"""Find failures of a post-trained chat model, and trace them to the data that taught them.

    import chunkykit as ck

    index = ck.build_index("mix.jsonl", "my_index")
    trace = index.trace(query, response, rubric="refusal")
    print(trace)                        # the sentence, the numbers, training rows
    trace.chunks, trace.examples(), trace.plot()

    audit = ck.Audit(
        index, target="anthropic:claude-haiku-4-5", rubric="refusal", judge="openai:gpt-5.1",
        folder="runs/haiku", budget_usd=5,
    )
    probes = await audit.search(candidates=600)
    audit.explore()

build_index, open_index    training rows, described and clustered; the result is an Index
Index                      .trace() one exchange, .scan() the data
Trace                      trigger, crux, chunks, examples, a plot
Audit                      search, confirm, cluster, trace, ablate, explore one model and rubric
explore                    a run in one linked view, or two models side by side
load_mixture, Mixture      training rows with their chunks
look, Look                 what is in a mixture, from about one in a thousand of its rows
load_rubric, Rubric        what counts as a violation
figures                    tables to pictures, one function per figure
UserError                  bad input: the message names the thing, the place and the fix

The rooms, in the order of the method: mixtures, attributes, index; rubrics; surf (the search);
turf (clusters and traces); causal (ablation, repair, steering); show (figures, explorer); lab (run
folders and stages); models and organisms (what is called and what is trained); cli. Each room has
a door: `from chunkykit.surf import run_searches`. Nothing heavy is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chunkykit.api import Index, Look, Trace, build_index, look, open_index
    from chunkykit.audit import Audit
    from chunkykit.errors import UserError
    from chunkykit.lab import explore
    from chunkykit.mixtures import Mixture, load_mixture
    from chunkykit.rubrics import Rubric, load_rubric
    from chunkykit.show import figures

__all__ = [
    "Audit",
    "Index",
    "Look",
    "Mixture",
    "Rubric",
    "Trace",
    "UserError",
    "__version__",
    "build_index",
    "explore",
    "figures",
    "load_mixture",
    "load_rubric",
    "look",
    "open_index",
]

_HOMES = {
    "Audit": "audit",
    "Index": "api",
    "Look": "api",
    "Mixture": "mixtures",
    "Rubric": "rubrics",
    "Trace": "api",
    "UserError": "errors",
    "build_index": "api",
    "explore": "lab",
    "figures": "show.figures",
    "load_mixture": "mixtures",
    "load_rubric": "rubrics",
    "look": "api",
    "open_index": "api",
}


def __getattr__(name: str):
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'chunkykit' has no attribute '{name}'")
    module = importlib.import_module(f"chunkykit.{_HOMES[name]}")
    value = module if name == "figures" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
