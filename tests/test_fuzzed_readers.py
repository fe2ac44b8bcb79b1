"""Readers answer or refuse whatever a file holds; SKGRAV_FUZZ_EXAMPLES says how many are drawn."""

import json
import os

import pytest
from fuzzed_readers import READERS, estimator_file, feed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saved_estimators import fitted, read

N_EXAMPLES = int(os.environ.get("SKGRAV_FUZZ_EXAMPLES", "40"))

fuzzed = settings(
    max_examples=N_EXAMPLES,
    derandomize=N_EXAMPLES < 1000,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

#: What stands in files by mistake, or out of malice.
PIECES = st.sampled_from(
    [
        b"", b",", b";", b"\t", b" ", b"\n", b"\r", b"\0", b"\x1a", b'"', b"#", b"/", b"*", b"-",
        b"|", b"nan", b"inf", b"-9999", b"1e400", b"1,5", b"1D5", b"9" * 400, b"10000000000", b"-0",
        b"\xff\xfe", b"\xef\xbb\xbf", b"\xc2\xb5", b"\xd9\xa3", b"\xe2\x88\x92", b"x", b"gz",
        b"gzz", b"m", b"mGal", b"[km]", b"Line 1", b"Tie", b"datacomp=", b"=1+1", b"null", b"{}",
    ]
) | st.binary(max_size=6)  # fmt: skip


@st.composite
def spoilt(draw, seeds):
    """Draw a file that a reader takes, with up to eight changes."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 0, 1, 1, 2, 5, 40]))
        kind = draw(st.sampled_from(["replace", "replace", "cut", "double", "swap lines"]))
        if kind == "replace":
            content = content[:start] + draw(PIECES) + content[start + length :]
        elif kind == "cut":
            content = content[:start]
        elif kind == "double":
            content = content[: start + length] + content[start:]
        else:
            lines = content.split(b"\n")
            content = b"\n".join(draw(st.permutations(lines)) if len(lines) < 9 else lines[::-1])
    return content


@pytest.mark.parametrize("name", [name for name in READERS if name != "load"])
def test_spoilt_files_are_read_or_refused(name, tmp_path):
    path = tmp_path / f"spoilt{READERS[name].suffix}"
    assert all(feed(name, seed, path) for seed in READERS[name].seeds)

    @fuzzed
    @given(spoilt(READERS[name].seeds))
    def check(content):
        feed(name, content, path)

    check()


def test_spoilt_headers_of_estimators_are_read_or_refused(tmp_path):
    path = tmp_path / "spoilt.safetensors"
    fitted("bayes, uncertainty").save(path)
    whole, header = path.read_bytes(), json_of(path)
    assert feed("load", estimator_file(header, whole), path)

    @fuzzed
    @given(spoilt([header]), spoilt([whole]), st.booleans())
    def check(header, content, of_header):
        feed("load", estimator_file(header, whole) if of_header else content, path)

    check()


def json_of(path):
    return json.dumps(read(path)[0]).encode()
