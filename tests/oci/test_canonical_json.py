"""Our indented JSON is the standard library's, byte for byte."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.oci.canonical_json import pretty

texts = st.text(max_size=8)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(values)
def test_pretty_is_what_the_standard_library_writes(value: Any) -> None:
    written = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    assert pretty(value).decode() == written
