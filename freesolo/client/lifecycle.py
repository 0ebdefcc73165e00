"""The hub's calls about what becomes of environments and versions after they are published."""

from freesolo.client.connection import HubConnection, Model, path_part
from freesolo.domain.refs import EnvRef, SelectorKind
from freesolo.errors import InvalidRef
from freesolo.schemas.environments import (
    Channel,
    ChannelHistory,
    ChannelList,
    ChannelTarget,
    Deprecation,
    EnvironmentInfo,
    EnvironmentSummary,
    NewName,
    PublishedVersion,
    ResolvedVersion,
    Transfer,
    TransferList,
    TransferOffer,
    Yank,
)


class LifecycleCalls(HubConnection):
    """What is asked about the life of versions. References to a version name it exactly."""

    def info(self, ref: EnvRef) -> EnvironmentInfo:
        """Return all that is known of the version that a reference means now."""
        path = f"/v1/envs/{ref.full_name}/info"
        return self._get(EnvironmentInfo, path, spec=ref.selector.text)

    def yank(self, ref: EnvRef, reason: str) -> ResolvedVersion:
        """Take a version back; whoever names it exactly still gets it."""
        return self._send("PUT", f"{_version(ref)}/yank", Yank(reason=reason), ResolvedVersion)

    def unyank(self, ref: EnvRef) -> ResolvedVersion:
        """Let a version be chosen again."""
        return self._change("DELETE", f"{_version(ref)}/yank", ResolvedVersion)

    def promote(self, ref: EnvRef) -> PublishedVersion:
        """Show a staged version to everybody who may read the environment."""
        return self._change("POST", f"{_version(ref)}/promote", PublishedVersion)

    def delete_version(self, ref: EnvRef) -> None:
        """Remove a version for ever; one that is still staged is only discarded."""
        self._transport.request("DELETE", _version(ref))

    def channels(self, ref: EnvRef) -> list[Channel]:
        """Return an environment's channels, by name."""
        return self._get(ChannelList, f"{_environment(ref)}/channels").channels

    def channel(self, ref: EnvRef, name: str, *, cursor: str | None = None) -> ChannelHistory:
        """Return a page of a channel's moves, the newest first."""
        return self._get(ChannelHistory, _channel(ref, name), cursor=cursor)

    def move_channel(self, ref: EnvRef, name: str, *, expected: str | None = None) -> Channel:
        """Let a channel mean what `ref` selects, if it stands at `expected` (None: wherever)."""
        target = ChannelTarget(selector=ref.selector.text, expected=expected)
        whole = EnvRef(ref.org, ref.name)
        return self._send("PUT", _channel(whole, name), target, Channel)

    def remove_channel(self, ref: EnvRef, name: str) -> None:
        """Remove a channel; its history stays."""
        self._transport.request("DELETE", _channel(ref, name))

    def deprecate(self, ref: EnvRef, deprecation: Deprecation) -> EnvironmentSummary:
        """Say that an environment should not be used any more."""
        path = f"{_environment(ref)}/deprecation"
        return self._send("PUT", path, deprecation, EnvironmentSummary)

    def undeprecate(self, ref: EnvRef) -> EnvironmentSummary:
        """Take a deprecation back."""
        return self._change("DELETE", f"{_environment(ref)}/deprecation", EnvironmentSummary)

    def archive(self, ref: EnvRef) -> EnvironmentSummary:
        """Close an environment to new versions."""
        return self._change("PUT", f"{_environment(ref)}/archive", EnvironmentSummary)

    def unarchive(self, ref: EnvRef) -> EnvironmentSummary:
        """Open an environment to new versions again."""
        return self._change("DELETE", f"{_environment(ref)}/archive", EnvironmentSummary)

    def delete_environment(self, ref: EnvRef) -> EnvironmentSummary:
        """Hide an environment from everybody; for 30 days it can be restored."""
        return self._change("DELETE", _environment(ref), EnvironmentSummary)

    def restore(self, ref: EnvRef) -> EnvironmentSummary:
        """Bring a deleted environment back."""
        return self._change("POST", f"{_environment(ref)}/restore", EnvironmentSummary)

    def rename(self, ref: EnvRef, name: str) -> EnvironmentSummary:
        """Give an environment another name in its org; the old one leads to it."""
        path = f"{_environment(ref)}/rename"
        return self._send("POST", path, NewName(name=name), EnvironmentSummary)

    def offer(self, ref: EnvRef, org: str) -> Transfer:
        """Offer an environment to another org."""
        path = f"{_environment(ref)}/transfer"
        return self._send("POST", path, TransferOffer(org=org), Transfer)

    def transfers(self, *, cursor: str | None = None) -> TransferList:
        """Return a page of what is offered to the orgs that the key is admin of."""
        return self._get(TransferList, "/v1/transfers", cursor=cursor)

    def accept(self, ref: EnvRef) -> EnvironmentSummary:
        """Take over an environment that was offered to an org of yours."""
        return self._change("POST", f"{_environment(ref)}/transfer/accept", EnvironmentSummary)

    def decline(self, ref: EnvRef) -> None:
        """End an offer, from either side."""
        self._transport.request("DELETE", f"{_environment(ref)}/transfer")

    def _change(self, method: str, path: str, answer: type[Model]) -> Model:
        return self._read(answer, self._transport.request(method, path))


def _environment(ref: EnvRef) -> str:
    if ref.selector.text:
        raise InvalidRef(
            f"{str(ref)!r} names a version, but this is about the whole environment.",
            hint=f"Write `{ref.full_name}`.",
        )
    return f"/v1/envs/{ref.full_name}"


def _version(ref: EnvRef) -> str:
    if ref.selector.kind is not SelectorKind.EXACT:
        raise InvalidRef(
            f"{str(ref)!r} does not name one version.",
            hint=f"Write `{ref.full_name}@VERSION`; `freesolo versions {ref.full_name}` lists them.",
        )
    return f"/v1/envs/{ref.full_name}/versions/{path_part(ref.selector.text)}"


def _channel(ref: EnvRef, name: str) -> str:
    return f"{_environment(ref)}/channels/{path_part(name)}"
