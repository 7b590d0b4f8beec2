"""Find the line of each path in a configuration file, for error messages."""

from collections.abc import Iterator, Mapping

import yaml

from app.config_as_code.read import FileProblem, InvalidFile, UnambiguousLoader


def with_lines(file: InvalidFile, text: str) -> InvalidFile:
    """Put the line number before the path of each problem, if it is known."""
    lines = lines_of(text)
    return InvalidFile(
        tuple(FileProblem(_with_line(each.path, lines), each.sentence) for each in file.problems)
    )


def lines_of(text: str) -> Mapping[str, int]:
    """Return the line number of each path, such as `destinations[0].name`. Returns none for invalid YAML."""
    try:
        root = yaml.compose(text, UnambiguousLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return {} if root is None else dict(_walk(root, ""))


def _walk(node: yaml.Node, path: str) -> Iterator[tuple[str, int]]:
    match node:
        case yaml.MappingNode():
            for key, value in node.value:
                place = f"{path}.{key.value}" if path else str(key.value)
                # A key gives the line number, because the value of an object begins on the next line.
                yield place, key.start_mark.line + 1
                yield from _walk(value, place)
        case yaml.SequenceNode():
            for number, item in enumerate(node.value):
                place = f"{path}[{number}]"
                yield place, item.start_mark.line + 1
                yield from _walk(item, place)


def _with_line(path: str, lines: Mapping[str, int]) -> str:
    """Return the line number and the path. For a missing field, use the line of the object that lacks it."""
    parent = path
    while parent and parent not in lines:
        parent = parent[: max(parent.rfind("."), parent.rfind("["), 0)]
    return f"line {lines[parent]}, {path}" if parent else path
