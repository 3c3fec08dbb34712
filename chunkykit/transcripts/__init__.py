"""Failures from the logs of other programs: Inspect, Scout, Petri, Docent and chat logs."""

from chunkykit.transcripts.failing import Rule, parse_rule
from chunkykit.transcripts.reading import (
    LOG_TYPES,
    SKIPPED_COLUMNS,
    TRANSCRIPT_COLUMNS,
    Transcripts,
    read_transcripts,
)

__all__ = [
    "LOG_TYPES",
    "SKIPPED_COLUMNS",
    "TRANSCRIPT_COLUMNS",
    "Rule",
    "Transcripts",
    "parse_rule",
    "read_transcripts",
]
