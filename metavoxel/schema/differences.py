"""Settings in which two schemas differ, as their YAML texts."""

from collections.abc import Iterator, Mapping

import yaml

_SHOWN = 60
"""Maximum number of characters of a value."""


def differing_settings(before: str, now: str) -> list[tuple[str, str]]:
    """List the settings that differ between two YAML texts, each with ``value before, value now``.

    Texts that cannot be compared by setting, as one that was edited by hand, differ as a whole.
    """
    if before == now:
        return []
    try:
        first, second = (dict(_flat("", yaml.safe_load(text))) for text in (before, now))
    except yaml.YAMLError as error:
        return [("all settings", f"not valid YAML: {str(error).splitlines()[0]}")]
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return [(name, f"{_shown(name, first)} there, {_shown(name, second)} now") for name in names] or [
        ("its text", "the same settings in another form")
    ]


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield nested mappings as dotted names with values."""
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), entry)
    else:
        yield name, value


def _shown(name: str, settings: Mapping[str, object]) -> str:
    if name not in settings:
        return "none"
    text = repr(settings[name])
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
