"""The hub's calls about tokens that were used and what an org has left."""

from collections.abc import Sequence
from datetime import date

from freesolo.client.connection import HubConnection
from freesolo.schemas.usage import Balance, UsageBy, UsageReport


class UsageCalls(HubConnection):
    """What is asked about usage."""

    def usage(
        self,
        *,
        by: Sequence[UsageBy] = (UsageBy.KEY, UsageBy.MODEL),
        since: date | None = None,
        until: date | None = None,
    ) -> UsageReport:
        """Return the org's tokens and what they cost, summed up by these; both days are part of it."""
        return self._get(
            UsageReport, "/v1/usage", by=[each.value for each in by], since=since, until=until
        )

    def balance(self) -> Balance:
        """Return what the org has left."""
        return self._get(Balance, "/v1/balance")
