"""A model's versions: features, training, evaluation, gates, packaging, registry."""
