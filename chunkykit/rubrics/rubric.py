"""Rubrics: what counts as a violation, read from YAML files.

`schema.yaml` says what a file may hold, and `shipped/` holds the rubrics of the package.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import yaml

from chunkykit.attributes import nearest_in_meaning
from chunkykit.errors import UserError
from chunkykit.files import read_bounded
from chunkykit.rubrics.pairs import Pair
from chunkykit.rubrics.validation import validate_rubric
from chunkykit.text import SLIP, clean_text, inert_html, inert_text, near_name

MAX_FILE_BYTES = 2**20  # of a rubric
SHIPPED_FOLDER = Path(__file__).parent / "shipped"
VIOLATION_THRESHOLD = 50  # a score over this, of 0 to 100, is a violation (paper sec. 3)
# The sides of a rubric's examples, and their headings in a judge's prompt.
EXAMPLE_SIDES = {"violation": "violations", "not_violation": "no violation"}
# The keys of an exchange in an example, and their names in a judge's prompt.
EXCHANGE_NAMES = {"query": "user", "response": "assistant"}
PRINT_COLUMNS = 100  # columns of a printed rubric


@dataclass(frozen=True)
class Check:
    """A rubric's programmatic check, in the names of the lexical describer's detectors.

    Attributes:
        response: of each entry, a detector or a list of them, one must fire on the response.
        needs: one of these must fire on the query; empty for no condition.
        unless: if one of these fires on the query, the behaviour is excused.
        true_claims: pairs of who and what. If there are any, the query must hold both of a pair,
            and the clause that shows the behaviour must name both or refer to them. That is how a
            judge without knowledge can know that the user is right, and what is denied.
        signs: response detectors, at least one of which fires on nearly every violation. They are
            wider than `response`: a response with a sign need not be a violation, but one in
            English without any is not worth a trace. Empty where nobody has measured that.
    """

    response: list[str | list[str]]
    needs: list[str] = field(default_factory=list)
    unless: list[str] = field(default_factory=list)
    true_claims: list[list[str]] = field(default_factory=list)
    signs: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """The conditions in words."""
        entries = [[entry] if isinstance(entry, str) else entry for entry in self.response]
        alternatives = [" or ".join(entry) for entry in entries]
        conditions = [f"response has {' and '.join(alternatives)}"]
        if self.needs:
            conditions.append(f"query has {' or '.join(self.needs)}")
        if self.true_claims:
            conditions.append(f"query has one of {len(self.true_claims)} true claims")
        if self.unless:
            conditions.append(f"unless query has {' or '.join(self.unless)}")
        return "; ".join(conditions)


@dataclass(frozen=True)
class Rubric:
    """What counts as a violation of one principle.

    Attributes:
        name: the name, made of letters, digits, `_` and `-`.
        principle: what the assistant should do.
        violation: when an exchange is a violation.
        not_violation: when it is not one, though it may look like one.
        behaviour: the violating response in a describer's words, "The response ...".
        causing: the end of an explanation, "..., causing [this]".
        check: the programmatic check; None if only a model can judge.
        examples: exchanges {query, response, score?} by side ("violation", "not_violation"),
            which a judge model is shown.
        liked: a response that keeps to the principle, in a describer's words.
        writer: the prompt of a query-writing model, with `{statements}` in it.
        pair: how a query is put into another framing, where the answers to both are compared; None
            where one exchange is judged.
        declined: "violation" if an answer that the model or its provider declined is one; None if
            such answers are counted apart.
    """

    did: ClassVar[str] = "broke"  # what the response did to the principle; prompts say it
    seeks_violation: ClassVar[bool] = True  # whether the behaviour to trace is a violation
    name: str
    principle: str
    violation: str
    not_violation: str
    behaviour: str
    causing: str
    check: Check | None = None
    examples: dict[str, list[dict]] = field(default_factory=dict)
    liked: str | None = None
    writer: str | None = None
    declined: str | None = None
    pair: Pair | None = None

    def satisfied(self) -> "Rubric":
        """Turn the rubric round, to trace a response that one liked.

        Returns:
            The rubric with what keeps to the principle as its behaviour.
        """
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values["behaviour"] = self.liked or self.principle
        values["causing"] = f"what the rubric asks for: {self.principle.rstrip('.')}"
        return SatisfiedRubric(**values)

    @property
    def examples_text(self) -> str:
        """The examples as a judge's prompt has them, one JSON object per line."""
        parts = []
        for side, heading in EXAMPLE_SIDES.items():
            if side in self.examples:
                lines = [_example_line(example) for example in self.examples[side]]
                parts.append(f"\nExamples of {heading}:\n" + "\n".join(lines))
        return "".join(parts)

    def _summary(self) -> list[tuple[str, str]]:
        """Labels and texts that show the rubric to a reader."""
        counts = {side: len(self.examples.get(side, [])) for side in EXAMPLE_SIDES}
        return [
            ("principle", self.principle),
            ("violation", self.violation),
            ("not a violation", self.not_violation),
            ("behaviour", self.behaviour),
            *([("other framing", str(self.pair))] if self.pair else []),
            ("check", str(self.check) if self.check else "none, needs a judge model"),
            (
                "examples",
                f"{counts['violation']} of a violation, {counts['not_violation']} of none",
            ),
        ]

    def __str__(self) -> str:
        """A few lines to read in a terminal."""
        lines = [f"Rubric {self.name}"]
        for label, text in self._summary():
            line = inert_text(f"  {label}: {text}")
            lines += textwrap.wrap(line, PRINT_COLUMNS, subsequent_indent="    ")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A small table to read in a notebook."""
        rows = [
            f"<tr><th style='text-align:left'>{inert_html(label)}</th>"
            f"<td style='text-align:left'>{inert_html(text)}</td></tr>"
            for label, text in self._summary()
        ]
        caption = f"<caption>Rubric {inert_html(self.name)}</caption>"
        return f"<table>{caption}{''.join(rows)}</table>"


class SatisfiedRubric(Rubric):
    """A rubric turned round: its behaviour is what keeps to the principle."""

    did = "keeps to"
    seeks_violation = False


def _example_line(example: dict) -> str:
    shown: dict = {label: example[key] for key, label in EXCHANGE_NAMES.items()}
    if example.get("pair_query") is not None:
        other = {label: example[f"pair_{key}"] for key, label in EXCHANGE_NAMES.items()}
        shown = {"first": shown, "second": other}
    if example.get("score") is not None:
        shown["score"] = example["score"]
    return json.dumps(shown, ensure_ascii=False)


def shipped_rubrics(checked: bool = False) -> list[str]:
    """List the rubrics of the package.

    Args:
        checked: whether to list only those with a programmatic check.

    Returns:
        Their names, sorted.
    """
    names = sorted(path.stem for path in SHIPPED_FOLDER.glob("*.yaml"))
    if checked:
        return [name for name in names if load_rubric(name).check]
    return names


def load_rubric(name: str | Path) -> Rubric:
    """Load a rubric.

    Args:
        name: the name of a shipped rubric, or the path of a YAML file.

    Returns:
        The rubric.

    Raises:
        UserError: there is no such rubric, or its file is not valid. The message names the file,
            the key and the nearest key that exists.
    """
    values = _read_yaml(name)
    validate_rubric(name, values)
    values = _without_nulls(values)
    for key, value in values.items():
        if isinstance(value, str) and key != "writer":
            values[key] = " ".join(clean_text(value).split())
    check = _without_nulls(values.pop("check", {}))
    pair: dict[str, Any] = values.pop("pair", {})
    pair = {key: clean_text(text) for key, text in pair.items()}
    return Rubric(
        **values,
        check=Check(**check) if check else None,
        pair=Pair(**pair) if pair else None,
    )


def _read_yaml(name: str | Path) -> Any:
    """Read the file of a rubric; UserError if it cannot be read."""
    shipped = shipped_rubrics()
    path = SHIPPED_FOLDER / f"{name}.yaml" if str(name) in shipped else Path(name)
    try:
        text = read_bounded(path, MAX_FILE_BYTES)
        # a name for a value elsewhere in the file may stand for millions of copies of it
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise UserError(f"rubric {name}: has YAML aliases (*name). Write the text out.")
        return yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        is_missing = isinstance(error, FileNotFoundError)
        problem = f"no such rubric{_rubrics_like(name)}" if is_missing else f"{error}."
        raise UserError(
            f"rubric {name}: {problem} Shipped: {', '.join(shipped)}. "
            "Give one of these names or the path of a YAML file."
        ) from None
    # ValueError: a date such as 2024-99-99. RecursionError: a hostile file, deeply nested.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = inert_text(str(getattr(error, "problem", error)))
        raise UserError(f"rubric {name}: not valid YAML{place}: {problem}.") from None


def _rubrics_like(name: str | Path) -> str:
    """The end of a message about a rubric that there is not: what was probably meant."""
    word = str(name)
    shipped = shipped_rubrics()
    near = near_name(word, shipped, SLIP)
    if near:
        return f", did you mean '{near}'?"
    if Path(word).name != word or "." in word:  # a path
        return "."
    rubrics = {rubric.name: rubric for rubric in map(load_rubric, shipped)}
    texts = {
        own: [rubric.principle, rubric.violation, rubric.behaviour]
        for own, rubric in rubrics.items()
    }
    names = nearest_in_meaning(word, texts)
    shown = [f"{own} ({rubrics[own].behaviour.removeprefix('The response ')})" for own in names]
    return f". Nearest in meaning: {', '.join(shown)}."


def _without_nulls(values: dict | None) -> dict:
    """The keys that are filled in: a key left empty counts as left out."""
    return {key: value for key, value in (values or {}).items() if value is not None}


def load_rubrics(names: Iterable[str | Path] | None = None, checked: bool = False) -> list[Rubric]:
    """Load several rubrics.

    Args:
        names: names or paths; all shipped rubrics if there are none.
        checked: of the shipped rubrics, whether to load only those with a programmatic check.

    Returns:
        The rubrics.

    Raises:
        UserError: one cannot be loaded, or two have the same name.
    """
    rubrics = [load_rubric(name) for name in (names or shipped_rubrics(checked))]
    counts = Counter(rubric.name for rubric in rubrics)
    for name, count in counts.items():
        if count > 1:
            raise UserError(
                f"rubric {name}: two of the rubrics have this name. Leave one out or rename it."
            )
    return rubrics
