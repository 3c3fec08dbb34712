"""The validation of rubric files, and its errors in words."""

import reprlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from chunkykit.attributes import (
    SIDES,
    WORD_COUNT_DETECTORS,
    detector_table,
    nearest_in_meaning,
)
from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.text import MIN_SIMILARITY, SLIP, near_name


def validate_rubric(name: str | Path, values: Any) -> None:
    """Check the content of a rubric file against `schema.yaml`.

    Args:
        name: the rubric's name or path, for the error.
        values: the content of the file.

    Raises:
        UserError: it does not fit. The message names the place and what would fit.
    """
    try:
        _validator()(values)
    except ValueError as error:
        raise UserError(f"rubric {name}: {_explain(error)}") from None
    for side, examples in (values.get("examples") or {}).items():
        for number, example in enumerate(examples, 1):
            _check_example(name, f"examples.{side}.{number}", example, values.get("pair"))


def _check_example(name: str | Path, place: str, example: dict, pair: dict | None) -> None:
    """Check that an example is of two exchanges where the rubric is about pairs, else of one."""
    for key in ("pair_query", "pair_response"):
        if pair and example.get(key) is None:
            raise UserError(
                f"rubric {name}: key '{place}.{key}' is missing: the rubric has a pair."
            )
        if not pair and example.get(key) is not None:
            raise UserError(
                f"rubric {name}: key '{place}.{key}' needs a key 'pair': {{template: ...}}."
            )


@cache
def _validator() -> Callable[[Any], Any]:
    """Compile the schema, with the names of the detectors filled in."""
    import fastjsonschema

    definitions = {
        side: {
            "description": f"a {side} detector",
            "enum": [*detectors["name"], *WORD_COUNT_DETECTORS],
        }
        for side, detectors in detector_table().groupby("side")
    }
    schema = load_packaged("rubrics/schema")
    return fastjsonschema.compile({**schema, "definitions": definitions})


def _explain(error: Any) -> str:
    """Explain a `JsonSchemaValueException` in one line, with the nearest name that would fit."""
    value = error.value
    schema = error.definition
    # The path begins with "data". List positions count from 1, as a reader counts.
    parts = [str(int(part) + 1) if part.isdigit() else part for part in error.path[1:]]
    place = ".".join(parts)
    if error.rule in ("additionalProperties", "required"):
        return _explain_keys(place, value, schema)
    if error.rule == "enum":
        suggestion = _suggest(value, schema["enum"], _detectors_like(value, schema), SLIP)
        shown = reprlib.repr(value)
        return f"'{place}' must be {schema['description']}; {shown} is not one{suggestion}"
    is_container = {"properties", "items"} & set(schema)
    subject = (place or "the file") if is_container else f"'{place}'"
    return f"{subject} must be {schema['description']}, not {reprlib.repr(value)}."


def _explain_keys(place: str, value: dict, schema: dict) -> str:
    """Name a key that is unknown, else the one that is missing."""
    prefix = f"{place}." if place else ""
    known = schema["properties"]
    unknown = [key for key in value if key not in known]
    if unknown:
        suggestion = _suggest(unknown[0], known, f"; known keys: {', '.join(known)}.")
        return f"unknown key '{prefix}{unknown[0]}'{suggestion}"
    missing = next(key for key in schema["required"] if key not in value)
    return f"key '{prefix}{missing}' is missing."


def _detectors_like(value: Any, schema: dict) -> str:
    """The end of a message about a detector that there is not: those nearest in meaning."""
    side = next((side for side in SIDES if f" {side} " in schema["description"]), None)
    if side is None or not isinstance(value, str):
        return "."
    own = detector_table().query("side == @side")
    sentences = {str(name): [str(text)] for name, text in zip(own["name"], own["sentence"])}
    near = [f"{name} ({sentences[name][0]})" for name in nearest_in_meaning(value, sentences)]
    return f". Nearest in meaning: {', '.join(near)}. All: chunkykit list detectors."


def _suggest(
    word: Any, known: Iterable[str], otherwise: str = ".", similarity: float = MIN_SIMILARITY
) -> str:
    """The end of a message: the known name that is nearest to a word, else another end."""
    near = near_name(word, known, similarity)
    return f", did you mean '{near}'?" if near else otherwise
