"""BoostQA: from raw seeds to the question-answer data that a language model lacks.

Importing this package does nothing but define its version; the command line (`boostqa --help`)
and `boostqa.pipeline` are the places to start reading.
"""

__version__ = "0.1.0"
