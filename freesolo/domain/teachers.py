"""Who teaches in on-policy distillation: a base model, an adapter, or an endpoint elsewhere."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from freesolo.domain.refs import AdapterRef
from freesolo.errors import InvalidRef

_FORM = "Write it as `https://host/v1#model`."


@dataclass(frozen=True)
class TeacherEndpoint:
    """A vLLM server that gives prompt logprobs, and the model to ask there."""

    base_url: str
    model: str

    @classmethod
    def parse(cls, text: str) -> "TeacherEndpoint":
        """Read `https://host/v1#model`. Raise `InvalidRef`, without the address, otherwise."""
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise InvalidRef("The teacher's address is no URL.", hint=_FORM) from None
        if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", text):
            raise InvalidRef("The teacher's address is no http or https URL.", hint=_FORM)
        if parts.username is not None or parts.password is not None or parts.query:
            raise InvalidRef(
                "The teacher's address holds credentials or a query, and it is kept and shown as it "
                "is. Its key is the secret TEACHER_API_KEY",
                hint=_FORM,
            )
        if not parts.fragment:
            raise InvalidRef(
                "The teacher's address names no model; write it as `https://host/v1#model`",
                hint=_FORM,
            )
        return cls(base_url=text.partition("#")[0].rstrip("/"), model=parts.fragment)

    def __str__(self) -> str:
        return f"{self.base_url}#{self.model}"


# A base model is known by its id in the catalog.
Teacher = str | AdapterRef | TeacherEndpoint


def parse_teacher(text: str) -> Teacher:
    """Read who teaches. Whether there is such a model or adapter is for the catalog and hub to say."""
    text = text.strip()
    if "://" in text:
        return TeacherEndpoint.parse(text)
    return AdapterRef.parse(text) if text.startswith("run-") else text
