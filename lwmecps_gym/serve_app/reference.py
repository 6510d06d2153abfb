"""The page of the docs that is made from the OpenAPI document: every route, in one list."""

from collections.abc import Iterator
from typing import Any

_HEAD = """# The API, route by route

Made from the OpenAPI document by `lwmecps openapi --page`; [api.md](api.md) tells how to use it,
and `/docs` of a running server shows the fields of every body.
"""


def render_page(document: dict[str, Any]) -> str:
    """Write an OpenAPI document as a page of Markdown."""
    return "\n".join((_HEAD, *_sections(document))) + "\n"


def _sections(document: dict[str, Any]) -> Iterator[str]:
    tagged: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            [tag] = operation["tags"]
            lines = _route(method, path, operation, document["components"]["schemas"])
            tagged.setdefault(tag, []).append("\n".join(lines))
    for tag, routes in tagged.items():
        yield f"## {tag.capitalize()}\n"
        yield from routes


def _route(
    method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]
) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`\n"
    yield f"{operation['description'].strip()}\n"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "| parameter | in | values | |\n|---|---|---|---|"
        for each in parameters:
            required = "" if each["in"] == "path" or not each.get("required") else "required; "
            about = f"{required}{each.get('description', '')}".replace("|", "\\|")
            values = _values(each["schema"], schemas)
            yield f"| `{each['name']}` | {each['in']} | {values} | {about} |"
        yield ""
    if "requestBody" in operation:
        yield f"Body: {_contents(operation['requestBody']['content'])}.\n"
    good = {status: each for status, each in operation["responses"].items() if status[0] == "2"}
    for status, response in good.items():
        content = response.get("content", {})
        yield f"Answer: {status}{', ' + _contents(content) if content else ''}.  "
    refusals = [f"{status}" for status in sorted(operation["responses"]) if status not in good]
    yield f"Problems: {', '.join(refusals)}.\n"


def _contents(content: dict[str, Any]) -> str:
    """Name the schemas of a body, or the media type of those without one."""
    named = []
    for media_type, each in content.items():
        schema = each.get("schema") or each.get("itemSchema") or {}
        [*_, name] = _references(schema) or [""]
        named.append(f"`{name}`" if name else f"`{media_type}`")
    return " or ".join(named)


def _references(schema: dict[str, Any]) -> list[str]:
    alternatives = [schema, *schema.get("anyOf", [])]
    return [each["$ref"].rpartition("/")[2] for each in alternatives if "$ref" in each]


def _values(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Say in short what a parameter may be."""
    kinds: list[str] = []
    for each in schema.get("anyOf", [schema]):
        each = schemas[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        if "enum" in each:
            kinds += [f"`{value}`" for value in each["enum"]]
        elif each.get("type") != "null":
            bounds = "..".join(str(each.get(name, "")) for name in ("minimum", "maximum"))
            kinds.append(f"{each.get('type', 'any')} {bounds.strip('.') and bounds}".strip())
    default = schema.get("default")
    return ", ".join(kinds) + ("" if default is None else f"; default `{default}`")
