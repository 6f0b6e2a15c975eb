"""What a check of the machine finds: facts, each with its state and its remedy."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "note", "problem"]
"""``note``: it works, but not as it could; ``problem``: something that segkit needs does not work."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was looked at.

    Attributes:
        area: What it belongs to: ``python``, ``pytorch``, ``gpu``, ``gpu use``, ``machine``, ``settings``, ``extras``,
            ``weights``, ``labelme`` or ``folder``.
        state: How it is.
        what: What was found, in a few words.
        hint: What to do about it; None where there is nothing to do.
    """

    area: str
    state: State
    what: str
    hint: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """The fact as a row of ``--json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Checkup:
    """All facts, and the environment as a table of names and versions."""

    facts: tuple[Fact, ...]
    environment: dict[str, str]

    @property
    def problems(self) -> tuple[Fact, ...]:
        """The facts that something does not work."""
        return tuple(fact for fact in self.facts if fact.state == "problem")

    def to_plain(self) -> dict[str, Any]:
        """The document of ``--json``."""
        facts = [fact.to_plain() for fact in self.facts]
        return {"problems": len(self.problems), "facts": facts, "environment": self.environment}
