"""Texts to attribute sentences, and sentences to unit vectors.

A describer says what a text is like, in sentences such as "The query asks for a recipe"; an
embedder makes the sentences comparable.
"""

from chunkykit.attributes.calibrate import (
    BASE_ODDS,
    SAME_WORDS_ONLY,
    Calibration,
    at_odds,
    calibrate,
)
from chunkykit.attributes.context import is_of_query_alone, query_context, response_context
from chunkykit.attributes.embed import (
    DEFAULT_EMBEDDER,
    Embedder,
    default_embedder,
    embedder_advice,
    load_embedder,
)
from chunkykit.attributes.identity import check_describer, describer_identity
from chunkykit.attributes.language import detect_language
from chunkykit.attributes.lexical import (
    WORD_COUNT_DETECTORS,
    attribute_spans,
    describe_lexically,
    describe_text,
    detector_fires,
    detector_table,
)
from chunkykit.attributes.llm import llm_describer, parse_attributes
from chunkykit.attributes.remote import load_embedder_through
from chunkykit.attributes.sentences import (
    MAX_ATTRIBUTES_PER_TEXT,
    SIDES,
    SYSTEM_LEAD,
    SYSTEM_PROMPT,
    count_words,
    predicate,
    text_window,
)
from chunkykit.attributes.suggest import nearest_in_meaning

__all__ = [
    "BASE_ODDS",
    "Calibration",
    "DEFAULT_EMBEDDER",
    "Embedder",
    "MAX_ATTRIBUTES_PER_TEXT",
    "SAME_WORDS_ONLY",
    "SIDES",
    "SYSTEM_LEAD",
    "SYSTEM_PROMPT",
    "WORD_COUNT_DETECTORS",
    "at_odds",
    "attribute_spans",
    "calibrate",
    "check_describer",
    "count_words",
    "default_embedder",
    "describe_lexically",
    "describe_text",
    "describer_identity",
    "detect_language",
    "detector_fires",
    "detector_table",
    "embedder_advice",
    "is_of_query_alone",
    "llm_describer",
    "load_embedder",
    "load_embedder_through",
    "nearest_in_meaning",
    "parse_attributes",
    "predicate",
    "query_context",
    "response_context",
    "text_window",
]
