"""The page: what a person with forty containers looks at. Server-rendered; no script library, nothing from outside."""

from certagent.collector.dashboard.login import Login
from certagent.collector.dashboard.pages import Dashboard
from certagent.collector.dashboard.rendering import Renderer

__all__ = ["Dashboard", "Login", "Renderer"]
