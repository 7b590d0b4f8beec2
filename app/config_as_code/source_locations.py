"""Where things stand in a configuration file: the line of each path, for who mends what is wrong."""

from collections.abc import Iterator, Mapping

import yaml

from app.config_as_code.read import FileProblem, UnambiguousLoader, UnreadableFile


def with_lines(refused: UnreadableFile, text: str) -> UnreadableFile:
    """Return the same problems, each with the line in front of its path, where that is known."""
    lines = lines_of(text)
    return UnreadableFile(tuple(FileProblem(_placed(one.at, lines), one.sentence) for one in refused.wrong))


def lines_of(text: str) -> Mapping[str, int]:
    """Return the line, from 1, of each path such as `destinations[0].name`; nothing for what is no YAML."""
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
                # An object begins a line below its name; people look for the name.
                yield place, key.start_mark.line + 1
                yield from _walk(value, place)
        case yaml.SequenceNode():
            for number, item in enumerate(node.value):
                place = f"{path}[{number}]"
                yield place, item.start_mark.line + 1
                yield from _walk(item, place)


def _placed(at: str, lines: Mapping[str, int]) -> str:
    """Return a path behind its line; what is missing stands where it would belong."""
    place = at
    while place and place not in lines:
        place = place[: max(place.rfind("."), place.rfind("["), 0)]
    return f"line {lines[place]}, {at}" if place else at
