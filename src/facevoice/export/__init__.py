"""A checkpoint with its backbones as one folder that the analyzer runs without torch."""
