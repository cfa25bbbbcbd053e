"""The base class and the field types of the models of messages and orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from order_capture.domain.ledger import ACCOUNTS
from order_capture.domain.order import ID_PATTERN, MAX_TOTAL, DeclineCode
from order_capture.domain.times import TIME_PATTERN


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("number", "must be a number")
    return Decimal(value)


def whole(value: object) -> object:
    """Convert 1.0 to 1, since both are whole numbers in JSON."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value


Id = Annotated[str, Field(pattern=ID_PATTERN)]
Text = Annotated[str, Field(min_length=1)]
Timestamp = Annotated[
    str,
    Field(pattern=f"^{TIME_PATTERN}$"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": f"^{TIME_PATTERN}$"}),
]
# An exact number with its decimals, never a float: 25.50.
Amount = Annotated[
    Decimal, Field(ge=0), BeforeValidator(_number), WithJsonSchema({"type": "number", "minimum": 0})
]
# The price of an order, or of a unit of a product.
Price = Annotated[
    Decimal,
    Field(ge=0, le=MAX_TOTAL),
    BeforeValidator(_number),
    AfterValidator(ACCOUNTS.amount),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": float(MAX_TOTAL)}),
]
# An open set, so that a new code breaks no consumer.
Code = Annotated[
    str,
    Field(
        pattern="^[A-Z][A-Z0-9_]{0,63}$",
        json_schema_extra={"x-extensible-enum": [str(code) for code in DeclineCode]},
    ),
]
Count = Annotated[int, Field(ge=0), BeforeValidator(whole)]
Version = Annotated[int, Field(ge=1), BeforeValidator(whole)]
Correlation = Annotated[str, Field(max_length=128)]

OMITTABLE: Any = None
"""The default of a field that may be absent, but is never null."""


class TolerantModel(BaseModel):
    """A model that ignores unknown fields when read, and converts no type to another."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,  # a function uses only a few of the models
    )

    @classmethod
    def build(cls, **values: Any) -> Self:
        """Create one from our own values, without validation."""
        construct: Any = cls.model_construct
        return cast("Self", construct(**values))

    def values(self) -> dict[str, Any]:
        """The values for JSON, without fields that were never set."""
        return self.model_dump(by_alias=True, exclude_unset=True, warnings=False)
