"""Stored events: kept until every handler has succeeded, whatever becomes of the process."""
