"""Structured answers: what to ask for, and whether the answer is what was asked for. It is always checked.

A server may ignore a schema and answer with status 200; only reading the answer tells.
"""

import json
from typing import Any

from gptoss_lab.errors import LabError
from gptoss_lab.text import text


def wanted(format: Any) -> Any:
    """Return a format as /api/chat takes it: from a pydantic model, a JSON schema, or "json".

    Raises LabError for anything else.
    """
    if format is None or format == "json" or isinstance(format, dict):
        return format
    schema = getattr(format, "model_json_schema", None)
    if schema is None:
        raise LabError(text("chat.no_format", format=repr(format)), text("chat.no_format_next"))
    return schema()


def checked(format: Any, content: str) -> tuple[Any, str]:
    """Return the object an answer holds, and why it is not what was asked for ("" when it is)."""
    try:
        if hasattr(format, "model_validate_json"):
            return format.model_validate_json(content), ""
        found = json.loads(content)
        if isinstance(format, dict):
            import jsonschema

            jsonschema.validate(found, format)
        return found, ""
    except Exception as error:  # pydantic's, jsonschema's and json's own
        return None, str(error).split("\n\n")[0]
