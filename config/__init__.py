"""Settings, logging, and the tables the other rooms read: data, not behaviour."""

__version__ = "0.1.0"
