"""The dashboard: server-rendered pages for users; no script library, nothing from other sites."""

from certagent.collector.dashboard.login import Login
from certagent.collector.dashboard.pages import Dashboard
from certagent.collector.dashboard.rendering import Renderer

__all__ = ["Dashboard", "Login", "Renderer"]
