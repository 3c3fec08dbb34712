"""Texts to attribute sentences, and sentences to unit vectors."""

from chunkykit.attributes.embed import (
    DEFAULT_EMBEDDER,
    Embedder,
    load_embedder,
)
from chunkykit.attributes.lexical import (
    MAX_ATTRIBUTES_PER_TEXT,
    SIDES,
    WORD_COUNT_DETECTORS,
    attribute_spans,
    count_words,
    describe_lexically,
    describe_text,
    detect_language,
    detector_fires,
    detector_table,
    llm_describer,
    parse_attributes,
    predicate,
    text_window,
)

__all__ = [
    "DEFAULT_EMBEDDER",
    "Embedder",
    "MAX_ATTRIBUTES_PER_TEXT",
    "SIDES",
    "WORD_COUNT_DETECTORS",
    "attribute_spans",
    "count_words",
    "describe_lexically",
    "describe_text",
    "detect_language",
    "detector_fires",
    "detector_table",
    "llm_describer",
    "load_embedder",
    "parse_attributes",
    "predicate",
    "text_window",
]
