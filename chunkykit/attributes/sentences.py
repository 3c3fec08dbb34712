"""What all describers share: sides, limits, and the little that is done to texts and sentences."""

import re

SIDES = ("query", "response")
MAX_ATTRIBUTES_PER_TEXT = 12  # attributes; the paper asks an LLM for 10
# Of a longer text only the beginning and the end are read. This bounds the time that a hostile
# text can take.
MAX_TEXT_CHARACTERS = 6000  # characters
HEAD_CHARACTERS = MAX_TEXT_CHARACTERS * 2 // 3  # of them from the beginning
TAIL_CHARACTERS = MAX_TEXT_CHARACTERS - HEAD_CHARACTERS  # and from the end

SYSTEM_PROMPT = "system prompt"  # the side as its sentences name it
LEAD = re.compile(r"^The (?:query|response|reasoning) ")
SYSTEM_LEAD = re.compile(r"^The system prompt ")
DENSE_CHARACTER = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")  # kana and ideographs
SPACED_WORD = re.compile(r"[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’-]\w+)*")


def text_window(text: str) -> str:
    """Cut a text down to the part that describers read.

    Args:
        text: a prompt or a response.

    Returns:
        The whole text if it has at most `MAX_TEXT_CHARACTERS` characters, else its beginning and
        its end on separate lines.
    """
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return f"{text[:HEAD_CHARACTERS]}\n{text[-TAIL_CHARACTERS:]}"


def count_words(text: str) -> int:
    """Count the words of a text in any script.

    Args:
        text: a prompt or a response.

    Returns:
        The number of words. Scripts without spaces have no word boundaries to count, so an
        ideograph or a kana counts as half a word (our choice), rounded up.
    """
    words = len(SPACED_WORD.findall(text))
    if text.isascii():
        return words
    return words + (len(DENSE_CHARACTER.findall(text)) + 1) // 2


def predicate(sentence: str) -> str:
    """Remove the subject of an attribute sentence.

    Args:
        sentence: such as "The query asks for X.".

    Returns:
        The rest, such as "asks for X". What is said of a system prompt is said of the query that
        stands under it: "stands under a system prompt that asks for X".
    """
    under = SYSTEM_LEAD.sub("stands under a system prompt that ", sentence)
    return LEAD.sub("", under).rstrip(".")
