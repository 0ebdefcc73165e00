"""What was found when a model was looked at before it joined the catalog."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from freesolo.domain.catalog import TemplateFacts
from freesolo.domain.model_shapes import ModelShape


class Verdict(StrEnum):
    """What a check says of a model; an error keeps it out of the catalog."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Check(BaseModel):
    """One rule, and how the model stands to it. `hint` says what to do about an error."""

    model_config = ConfigDict(frozen=True)

    name: str
    verdict: Verdict
    message: str
    hint: str | None = None


class Inspection(BaseModel):
    """Every check of a model, and the facts that its catalog entry takes from it.

    A fact is None where an error kept it from being found.
    """

    model_config = ConfigDict(frozen=True)

    checks: tuple[Check, ...]
    parameters: int | None = None
    context: int | None = None
    shape: ModelShape | None = None
    thinking: bool = False
    # Whether an answer in a conversation begins as a prompt for it ends, without which SFT cannot
    # tell the one from the other.
    answers_extend_prompts: bool = False
    template: TemplateFacts = TemplateFacts()

    @property
    def errors(self) -> tuple[Check, ...]:
        """What keeps the model out of the catalog."""
        return tuple(check for check in self.checks if check.verdict is Verdict.ERROR)
