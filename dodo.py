"""The graph's front door: doit finds its tasks here, and its settings in [tool.doit]."""

from tasks.graph import *  # noqa: F403
