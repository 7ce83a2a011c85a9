"""``sightline models``, with the cache as the place where models go."""

from sightline_models.commands import build_models_app

from sightline.cache import models_dir

models_app = build_models_app(models_dir())
