"""certagent: sees a broken challenge path coming, names the line, keeps certificates alive, proves what is served."""

__version__ = "0.2.0"
