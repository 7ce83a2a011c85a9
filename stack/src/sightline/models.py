"""``sightline models``, with the cache as the place where models go."""

from sightline.cache import models_dir
from sightline_models.commands import build_models_app

models_app = build_models_app(models_dir())
