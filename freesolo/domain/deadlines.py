"""How long an environment may take for one call, in seconds: what is usual, and what may be asked for."""

DEFAULT_CALL_SECONDS = 60.0
MIN_CALL_SECONDS = 1.0
MAX_CALL_SECONDS = 3600.0
