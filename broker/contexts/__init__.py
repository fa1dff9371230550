"""The @contexts a broker knows: shipped, hosted, cached, fetched; and what they resolve to."""

from broker.contexts.documents import ContextLimits
from broker.contexts.entries import Entry, Kind
from broker.contexts.resolution import Contexts

__all__ = ["ContextLimits", "Contexts", "Entry", "Kind"]
