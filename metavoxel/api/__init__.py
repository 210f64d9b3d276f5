"""The Python interface."""

from metavoxel.api.arguments import schema as schema
from metavoxel.api.functions import compare as compare
from metavoxel.api.functions import evaluate as evaluate
from metavoxel.api.functions import load as load
from metavoxel.api.functions import load_schema as load_schema
from metavoxel.api.functions import phantom as phantom
from metavoxel.api.functions import prepare_like as prepare_like
from metavoxel.api.functions import train as train
from metavoxel.api.functions import training as training
