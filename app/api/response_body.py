"""The base of response models."""

from pydantic import BaseModel, ConfigDict


class ResponseBody(BaseModel):
    """A JSON response, or a part of a response. `model_validate` reads the attributes of a stored row."""

    model_config = ConfigDict(from_attributes=True, frozen=True)
