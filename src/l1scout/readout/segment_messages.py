"""What readout and store say to each other about a segment, as JSON over `l1scout.wire`."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

from l1scout.readout.object_counts import FileSize
from l1scout.readout.segment_note import SegmentNote

Reason = Annotated[str, StringConstraints(max_length=300)]


class Offer(BaseModel):
    """Readout offers a segment to the store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    offer: SegmentNote

    def as_message(self) -> dict[str, Any]:
        """Return the message with JSON types only."""
        return self.model_dump(mode="json")


class Answer(BaseModel):
    """The store's answer to an offer, and to the bytes that follow: one field is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    done: Annotated[bool, Strict()] = Field(False, description="The segment is stored: forget it.")
    send: FileSize | None = Field(None, description="Send the bytes from this offset on.")
    wait: Reason | None = Field(None, description="Offer it again later, for this reason.")
    again: Reason | None = Field(None, description="Offer it again now, for this reason.")
    refused: Reason | None = Field(None, description="Never offer it again, for this reason.")

    def as_message(self) -> dict[str, Any]:
        """Return the message: only the field that is set."""
        return self.model_dump(mode="json", exclude_defaults=True)
