"""Checks of settings: they are what YAML, JSON Schema and a run folder show of a part."""

from collections.abc import Iterator

from pydantic import BaseModel, ValidationError


def check_settings_round_trip(settings: BaseModel) -> None:
    """Settings survive being written as JSON and read back."""
    written = settings.model_dump_json()
    read = type(settings).model_validate_json(written)
    assert read == settings, f"{written} is read back as {read!r}"
    type(settings).model_json_schema()


def check_settings_described(settings: BaseModel) -> None:
    """Every setting has a description, for editors and for the reference."""
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
    """A misspelt setting is an error, not silently the default."""
    try:
        type(settings).model_validate({**settings.model_dump(mode="json"), "not_a_setting": 1})
    except ValidationError as error:
        wrong = {problem["loc"][-1] for problem in error.errors() if problem["loc"]}
        assert "not_a_setting" in wrong, f"settings are refused for another reason: {error}"
        return
    raise AssertionError(
        f"{type(settings).__name__} accepts a setting that it does not have (extra='forbid' is missing)"
    )


def check_settings_frozen(settings: BaseModel) -> None:
    """Settings cannot change under those who hold them."""
    assert settings.model_config.get("frozen"), f"{type(settings).__name__} is not frozen"


def check_type_named(settings: BaseModel) -> None:
    """``type`` has a default, the name by which a schema asks for this part."""
    field = type(settings).model_fields.get("type")
    assert field is not None, f"{type(settings).__name__} has no field 'type'"
    assert isinstance(field.default, str) and field.default, "'type' needs its own name as its default"


SETTINGS_CHECKS = (
    check_settings_round_trip,
    check_settings_described,
    check_unknown_setting_rejected,
    check_settings_frozen,
    check_type_named,
)
"""Checks of any settings."""
