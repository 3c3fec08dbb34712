"""The prompts that the package sends to chat models, from `prompts.yaml`."""

from chunkykit.files import load_packaged


def fill_prompt(name: str, **fields) -> tuple[list[dict], dict | None]:
    """Fill the fields of a prompt.

    Args:
        name: an entry of `prompts.yaml`.
        **fields: what its `{fields}` stand for.

    Returns:
        The messages, and the JSON schema of the answer (None where the prompt has none).
    """
    entry = load_packaged("prompts")[name]
    messages = [{"role": "user", "content": entry["text"].format(**fields)}]
    return messages, entry.get("schema")
