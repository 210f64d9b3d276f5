"""Conformance checks of settings, the pydantic models that YAML, JSON Schema and run folders represent."""

from collections.abc import Iterator

from pydantic import BaseModel, ValidationError


def check_settings_round_trip(settings: BaseModel) -> None:
    """Check that settings are unchanged after a round trip through JSON."""
    written = settings.model_dump_json()
    read = type(settings).model_validate_json(written)
    assert read == settings, f"{written} is read back as {read!r}"
    type(settings).model_json_schema()


def check_settings_described(settings: BaseModel) -> None:
    """Check that every setting has a description, shown by editors and in the reference."""
    missing = sorted(_undescribed(settings))
    assert not missing, f"{type(settings).__name__}: no description of {', '.join(missing)}"


def _undescribed(settings: BaseModel) -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        if name != "type" and not field.description:
            yield name
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from (f"{name}.{inner}" for inner in _undescribed(value))


def check_unknown_setting_rejected(settings: BaseModel) -> None:
    """Check that an unknown setting is an error and not silently ignored."""
    try:
        type(settings).model_validate({**settings.model_dump(mode="json"), "not_a_setting": 1})
    except ValidationError as error:
        wrong = {problem["loc"][-1] for problem in error.errors() if problem["loc"]}
        assert "not_a_setting" in wrong, f"settings are rejected for another reason: {error}"
        return
    raise AssertionError(f"{type(settings).__name__} accepts an unknown setting (extra='forbid' is missing)")


def check_settings_frozen(settings: BaseModel) -> None:
    """Check that settings are immutable."""
    assert settings.model_config.get("frozen"), f"{type(settings).__name__} is not frozen"


def check_type_named(settings: BaseModel) -> None:
    """Check that ``type`` has a default: the name of this part in a schema."""
    field = type(settings).model_fields.get("type")
    assert field is not None, f"{type(settings).__name__} has no field 'type'"
    assert isinstance(field.default, str) and field.default, "'type' must have the name of this part as its default"


SETTINGS_CHECKS = (
    check_settings_round_trip,
    check_settings_described,
    check_unknown_setting_rejected,
    check_settings_frozen,
    check_type_named,
)
"""Checks of all settings."""
