"""The stages, one file each. They never import each other; `pipeline.py` gives their order."""
