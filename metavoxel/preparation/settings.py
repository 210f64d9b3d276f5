"""Settings of a preparation, and the key by which finished work is recognised."""

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

RECORD = "Preparation"
"""Key of an image's sidecar under which hashes, settings, versions and figures are."""


T1W = "T1w"
"""BIDS suffix of the contrast that is registered to the template."""


class PrepareSettings(BaseModel):
    """How every image of a derivative is prepared."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    extractor: str = Field("deepbet", description="method of brain extraction")
    bias: bool = Field(True, description="whether the bias field is corrected (N4)")
    spacing: float = Field(1.0, ge=0.5, le=8.0, description="size of the cubic voxels in mm")


def versions(extractor: str) -> dict[str, str]:
    """Versions of all that determines the result's bytes."""
    names = ("metavoxel", "numpy", "scipy", "SimpleITK", "nibabel", "nilearn")
    return {name: importlib.metadata.version(name) for name in names} | {"extractor": extractor}


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(parts: dict[str, Any]) -> str:
    """Digest of all that determines an output."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()
