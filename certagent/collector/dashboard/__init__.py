"""The page: what a person with forty containers looks at. Server-rendered; no script library, nothing from outside."""

from certagent.collector.dashboard.pages import Dashboard

__all__ = ["Dashboard"]
