"""The base of response models."""

from pydantic import BaseModel, ConfigDict


class ResponseBody(BaseModel):
    """A JSON response, or a part of it. `model_validate` also accepts an object, such as a stored row."""

    model_config = ConfigDict(from_attributes=True, frozen=True, use_attribute_docstrings=True)
