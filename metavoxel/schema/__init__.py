"""Schemas: the variables of a joint model, the location of their values, and the training settings."""

from metavoxel.schema.parse import load_schema as load_schema
from metavoxel.schema.parse import parse_schema as parse_schema
from metavoxel.schema.schema import Schema as Schema
from metavoxel.schema.schema import Variable as Variable
