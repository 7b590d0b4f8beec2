"""Generated code holds no text of a mapping, and reads what the mapping's sources read."""

import inspect
import linecache
import traceback
from typing import Any

import pytest
from conversions import RULES, compiled, document
from hypothesis import given
from hypothesis import strategies as st
from test_conversion_laws import EVENTS

from app.domain.conversion.codegen import FunctionBuilder
from app.domain.conversion.convert import Rules
from app.domain.conversion.failures import SourceFailed
from app.domain.conversion.fast_path import compile_fast_path
from app.domain.mapping.reading import Reading
from app.domain.mapping.sources import Source, compile_source, unchecked

HOSTILE = "\"'); import os; x = ('{}"


def test_no_text_of_a_mapping_reaches_the_source() -> None:
    """Whatever a person wrote into it: names, constants, defaults and paths are bound, not written."""
    written = document(
        {
            "event_name": "Zebra's list",
            "country_code": {"path": '["zebra country"].here', "default": "US"},
            "custom_data": [{"name": "zebra", "path": '["zebra } stripes"]'}],
        },
        maid={"path": "zebra.maid", "default": "zebra"},
    )
    rules = Rules(**{**RULES, "dataset_name": HOSTILE, "destination_id": HOSTILE, "currency": "EUR"})
    fast_path = compile_fast_path(compiled(written), rules)
    assert fast_path is not None
    source = " ".join([*map(str, fast_path.__code__.co_consts), *fast_path.__code__.co_names])
    assert "hexdigest" in source
    for text in ("ebra", "stripes", "import", "EUR", "email", "EMAIL", "timestamp"):
        assert text not in source


def test_the_source_of_generated_code_can_be_read() -> None:
    """By tracebacks, debuggers and `show-fast-path`."""
    code = FunctionBuilder("fails", "content")
    code.add("return content['absent']  # a line of generated code")
    function: Any = code.compile()
    filename = function.__code__.co_filename
    with pytest.raises(KeyError) as raised:
        function({})
    assert "a line of generated code" in "".join(traceback.format_exception(raised.value))
    assert inspect.getsource(function).startswith("def fails(content):")
    assert filename in linecache.cache


PATHS = st.sampled_from(
    ["user", "user.email", "event.properties.total", "user.list[0]", '["a b"].c', "a.b.c.d.e"]
)
DEFAULTS = st.sampled_from([None, "x", 7])


@given(EVENTS, PATHS, DEFAULTS)
def test_what_is_written_reads_what_the_source_reads(
    content: dict[str, Any], path: str, default: Any
) -> None:
    """Up to blank texts, which are left as they are, and shapes it was not written for, which it declines."""
    source = compile_source(
        {"path": path, **({} if default is None else {"default": default})}, "x", bare="path"
    )
    assert isinstance(source, Source)
    code = FunctionBuilder("read", "content")
    code.add(f"return ({code.read(source)},)")
    found, wanted = code.compile()(content), source.read(content, Reading(), unchecked)
    if found is None:
        assert type(wanted) is SourceFailed
    elif not (type(found[0]) is str and not found[0].strip()):
        assert found == (wanted,)
