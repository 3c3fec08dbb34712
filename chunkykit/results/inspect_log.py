"""A run as a log of Inspect: each judged exchange is a sample, scored by its rubric."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chunkykit
from chunkykit.errors import requires_extra
from chunkykit.files import writable
from chunkykit.lab import RunFolder
from chunkykit.mixtures import name_source
from chunkykit.results.gather import judged_exchanges
from chunkykit.results.inspect_scores import letter_of

TASK = "chunkykit"


def write_inspect_log(path: Path, run: RunFolder, traced: Mapping[str, dict]) -> int:
    """Write the judged exchanges of a run as a log that Inspect opens.

    Args:
        path: the log, `.eval` or `.json`.
        run: the open run folder.
        traced: what is known of a failure beside its score, by the id of its exchange.

    Returns:
        The number of samples.

    Raises:
        UserError: the file cannot be written, nothing was searched yet, or `inspect_ai` is not
            installed.
    """
    with requires_extra("inspect"):
        from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec, write_eval_log
    exchanges = judged_exchanges(run).to_dict("records")
    model = run.settings.target
    samples = [_sample(row, model, traced.get(str(row["id"]), {})) for row in exchanges]
    spec = EvalSpec(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=TASK,
        dataset=EvalDataset(name=name_source(run.settings.mixture), samples=len(samples)),
        model=model,
        config=EvalConfig(),
        packages={"chunkykit": chunkykit.__version__},
        metadata={"caption": run.caption},
    )
    with writable(path):
        write_eval_log(EvalLog(status="success", eval=spec, samples=samples), str(path))
    return len(samples)


def _sample(row: Mapping[Any, Any], model: str, known: dict) -> Any:
    """One exchange as a sample of Inspect."""
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score

    score = Score(
        value=letter_of(row["score"]),
        answer=row["response"],
        explanation=row["reason"],
        metadata={"score": row["score"], **known},
    )
    query = ChatMessageUser(content=row["query"])
    return EvalSample(
        id=row["id"],
        epoch=1,
        input=row["query"],
        target="",
        messages=[query, ChatMessageAssistant(content=row["response"], model=model)],
        output=ModelOutput.from_content(model, row["response"]),
        scores={row["rubric"]: score},
    )
