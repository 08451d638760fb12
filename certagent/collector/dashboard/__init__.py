"""The dashboard: server-rendered pages for users; no script library, nothing from other sites."""

from certagent.collector.dashboard.beginning import FirstCommands
from certagent.collector.dashboard.code_pages import CodePages
from certagent.collector.dashboard.history_pages import HistoryPages
from certagent.collector.dashboard.list_pages import ListPages
from certagent.collector.dashboard.login import Login
from certagent.collector.dashboard.page_frame import PageFrame
from certagent.collector.dashboard.pages import Dashboard
from certagent.collector.dashboard.rendering import Renderer

__all__ = ["CodePages", "Dashboard", "FirstCommands", "HistoryPages", "ListPages", "Login", "PageFrame", "Renderer"]
