"""`python -m boostqa.llm.fake`: the fake provider as a process."""

from __future__ import annotations

import sys

from boostqa.llm.fake.server import main

sys.exit(main())
