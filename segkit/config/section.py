"""The base of every part of a config with fixed keys."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the config with fixed keys: strict types, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
