"""A schema: which variables a model joins, where their values are, and how it is trained."""

from metavoxel.schema.parse import load_schema as load_schema
from metavoxel.schema.parse import parse_schema as parse_schema
from metavoxel.schema.schema import Schema as Schema
from metavoxel.schema.schema import Variable as Variable
