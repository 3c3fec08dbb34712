import pytest

from chunkykit.files import load_packaged
from chunkykit.prompts import fill_prompt


def test_a_prompt_is_one_message_with_its_fields_and_schema():
    messages, schema = fill_prompt("write", statements="- The query is short")
    assert [message["role"] for message in messages] == ["user"]
    assert "- The query is short" in messages[0]["content"]
    assert schema is None
    messages, schema = fill_prompt("gate", query='"{hostile}"')
    assert '"{hostile}"' in messages[0]["content"]
    assert schema["required"] == ["realistic"]


def test_a_missing_field_is_an_error():
    with pytest.raises(KeyError):
        fill_prompt("gate")


@pytest.mark.parametrize("name", load_packaged("prompts"))
def test_a_schema_requires_every_key_and_allows_no_other(name):
    # strict modes of providers accept no other schemas
    schema = load_packaged("prompts")[name].get("schema")
    if schema:
        assert set(schema["required"]) == set(schema["properties"])
        assert schema["additionalProperties"] is False
