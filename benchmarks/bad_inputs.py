"""Each argument of every public callable with values that it should not have: what comes of it.

An error must name the argument, tell the value and say what to do; an answer must be finite. Each
use runs in a process of its own, which is ended when a call hangs. Fills doc/reliability.md.

    python benchmarks/bad_inputs.py                   # all
    python benchmarks/bad_inputs.py plotting. arrays  # what has this in its name, and arrays
"""

import argparse
import json
import logging
import os
import re
import resource
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import scipy.sparse
from _bad_uses import Use, uses
from _timing import OUTPUT, markdown, put_into
from bad_kinds import KINDS, altered, outcome  # from tests, to which _bad_uses has opened the way
from public_calls import CALLS
from sklearn.exceptions import NotFittedError

from skgrav import Mesh, TikhonovInverter

SECONDS, GIBIBYTES = 30, 12

#: What may be given by mistake in place of anything.
VALUES = {
    "None": None,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "negative": -1,
    "zero": 0,
    "fraction": 0.5,
    "huge": 1e300,
    "huge integer": 10**30,
    "truth": True,
    "complex": 1 + 2j,
    "text": "gravty",
    "empty text": "",
    "bytes": b"z",
    "empty list": [],
    "list of text": ["rock"],
    "swapped pair": (5.0, -5.0),
    "long list": [1.0] * 7,
    "dict": {"a": 1},
    "set": {1},
    "object": object(),
    "class": Mesh,
    "function": len,
    "array with NaN": np.array([np.nan, 1.0]),
    "array of objects": np.array([None, "a"], dtype=object),
    "frame with NaN": pd.DataFrame({"a": [1.0, np.nan]}),
    "sparse": scipy.sparse.csr_array(np.eye(3)),
    "other mesh": Mesh.square(3),
    "not fitted": TikhonovInverter(),
    "date": np.datetime64("2026-01-01"),
}

TEXTS = {
    "empty": "",
    "NaN": "nan",
    "infinity": "inf",
    "negative": "-1",
    "zero": "0",
    "too large": "1e400",
    "text": "gravty",
    "other digits": "\u0663",
    "control character": "a\x07b",
    "long": "9" * 400,
    "folder": "/",
    "nowhere": "/nowhere/there.nc",
    "option": "--",
    "three": ["1", "2", "3"],
    "swapped pair": ["5", "-5"],
}

#: No number, text or mapping that a caller means has these; what takes one is looked at.
ODD = {
    "NaN", "complex", "bytes", "set", "object", "class", "function", "array of objects", "date",
    "frame with NaN", "array with NaN",
}  # fmt: skip

REMEDY = re.compile(
    r"must|give |pass |use |choose|take |allowed|instead|one of|between|expect|correct|check|leave|"
    r"fit |call |remove|install|set |name it|needs|are:| is one|finite|should|only|known|"
    r"invalid choice|no such file",
    re.IGNORECASE,
)

CLASSES = (
    "refused: argument, value, remedy",
    "refused: argument named",
    "refused: argument not named",
    "foreign error",
    "answered",
    "odd value taken",
    "NaN or infinity in silence",
    "hang or crash",
)
FULL, NAMED, UNNAMED, FOREIGN, ANSWERED, TAKEN, SILENT, HANG = CLASSES
#: FloatingPointError is what training that diverges ends with.
EXPECTED = (
    ValueError, TypeError, OSError, ImportError, MemoryError, NotFittedError, FloatingPointError,
)  # fmt: skip


def judged_error(error: Exception, argument: str, value: object) -> tuple[str, str]:
    """Give the class of an error, and what it said."""
    text = str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {text[:160]} @ {Path(place.filename).name}:{place.lineno}"
    if not isinstance(error, EXPECTED) or isinstance(error, UnicodeError | NotImplementedError):
        return FOREIGN, said
    names = {argument, argument.rstrip("s"), argument.lstrip("-"), "path"}
    names |= {"noise_level"} if argument in ("level", "noise_level") else set()
    if isinstance(error, OSError):  # of the system, which shows the file by its name
        names.add(str(value))
    if not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names):
        return UNNAMED, said
    return (FULL if REMEDY.search(text) and tells(text, value) else NAMED), said


def tells(text: str, value: object) -> bool:
    """Tell whether a message shows a value, its type or its shape."""
    tokens = {repr(value)[:12], str(value)[:12], type(value).__name__}
    if isinstance(value, float | int):
        tokens |= {f"{value:g}", f"{value:.3g}", "finite"}
    if isinstance(value, list) and value:
        tokens |= {str(value[0]), repr(value[0])}
    tokens.discard("")
    shown = any(token.strip("[](){}'") in text for token in tokens)
    return shown or re.search(r"shape|Got |NaN|infinity|found|lengths?|\bnot\b", text) is not None


def finite(thing: object) -> bool:
    """Tell whether all numbers in an answer are finite; other objects have none."""
    if isinstance(thing, tuple | list):
        return all(finite(part) for part in thing)
    if isinstance(thing, dict):
        return all(finite(part) for part in thing.values())
    if hasattr(thing, "rho"):
        thing = thing.rho
    if isinstance(thing, np.ndarray | float | np.floating) and np.asarray(thing).dtype.kind == "f":
        return bool(np.isfinite(thing).all())
    return True


def judged(use: Use, argument: str, kind: str, value: object, usual: bool) -> tuple[str, str]:
    """Call a use with one argument spoilt; give the class of what came, and its words."""
    try:
        found = use.run(**({} if use.texts else use.good) | {argument: value})
    except Exception as error:  # whatever it is, it is judged
        return judged_error(error, argument, value)
    if usual and not finite(found):
        return SILENT, "an answer that is not finite"
    return (TAKEN, "") if kind in ODD and not use.texts else (ANSWERED, "")


def cases_of(use: Use) -> list[tuple[str, str, object]]:
    """Give argument, kind and value of each case of a use."""
    values = TEXTS if use.texts else VALUES
    return [(argument, kind, v) for argument in use.arguments for kind, v in values.items()]


def run_cases(use: Use, first: int, pipe: int) -> None:
    """Judge the cases of a use from one on, and write each as a line of JSON."""

    def report(line: dict) -> None:
        os.write(pipe, f"{json.dumps(line)}\n".encode())

    logging.disable()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES << 30, GIBIBYTES << 30))
    socket.socket.connect = refuse
    try:
        usual = finite(use.run(**use.good))
    except Exception as error:
        report({"broken": f"{type(error).__name__}: {error}"[:300]})
        if "fetch_" not in use.name:
            return
        usual = True
    for number, (argument, kind, value) in list(enumerate(cases_of(use)))[first:]:
        report({"begun": number})
        verdict, said = judged(use, argument, kind, value, usual)
        report({"number": number, "verdict": verdict, "said": said})


def refuse(self, address):
    """Open no connection."""
    raise OSError(f"this machine has no network, but {address!r} is asked for")


def watched(use: Use) -> list[dict]:
    """Run the cases of a use in processes that are ended when one hangs."""
    cases, results, first = cases_of(use), [], 0
    while first < len(cases):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            run_cases(use, first, writer)
            os._exit(0)
        os.close(writer)
        lines, current, first = b"", None, len(cases)
        while select.select([reader], [], [], SECONDS if current is not None else 120)[0]:
            chunk = os.read(reader, 65536)
            if not chunk:
                break
            *whole, lines = (lines + chunk).split(b"\n")
            for line in map(json.loads, whole):
                current = line.get("begun") if "begun" in line else None
                results += [line] if "begun" not in line else []
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if current is not None:
            results.append({"number": current, "verdict": HANG, "said": "ended"})
            first = current + 1
    for line in results:
        if "number" in line:
            argument, kind, _ = cases[line["number"]]
            line |= {"room": use.room, "use": use.name, "argument": argument, "kind": kind}
        else:
            print(f"  {use.name} cannot be used: {line['broken']}", file=sys.stderr)
    return [line for line in results if "number" in line]


def array_cases() -> list[dict]:
    """Judge the array arguments of the tests in all their kinds."""
    found = []
    warnings.simplefilter("ignore")
    for call in CALLS:
        for kind in KINDS:
            verdict = outcome(call, kind)
            said = verdict if verdict.startswith("DEFECT") else ""
            cls = {"answer": ANSWERED, "passed on": ANSWERED, "error": NAMED}.get(verdict, SILENT)
            if verdict == "error":
                try:
                    call.run(altered(call, kind))
                except Exception as error:
                    cls, said = judged_error(error, call.argument, altered(call, kind))
                    cls = NAMED if cls == UNNAMED else cls  # by one of its other names
            room, name = call.name.split(".", 1)
            found.append(
                {"room": room, "use": name, "argument": call.argument, "kind": kind}
                | {"verdict": cls, "said": said}
            )
    return found


def main() -> None:
    """Run the sweep or a part of it, and fill the page from all parts that were run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="parts of names of uses; 'arrays' (default: all)")
    parser.add_argument("--page", action="store_true", help="fill the page from parts run before")
    options = parser.parse_args()
    output = OUTPUT.resolve()
    output.mkdir(parents=True, exist_ok=True)
    if not options.page:
        os.chdir(mkdtemp())  # some names of files are taken as they are
        sweep(options.names, output / f"bad_inputs_{'_'.join(options.names) or 'all'}.json")
    results = {}
    for path in sorted(output.glob("bad_inputs_*.json"), key=lambda path: path.stat().st_mtime):
        for line in json.loads(path.read_text(encoding="utf-8")):
            results[line["room"], line["use"], line["argument"], line["kind"]] = line
    put_into("reliability.md", "inputs", table(list(results.values())))


def sweep(names: list[str], path: Path) -> None:
    """Run the uses whose names have one of some parts, and keep what came of them."""
    start, results = time.monotonic(), []
    for one in uses():
        if not names or any(name in f"{one.room}.{one.name}" for name in names):
            results += watched(one)
            print(f"{time.monotonic() - start:6.0f} s {len(results):6d} {one.name}", flush=True)
            path.write_text(json.dumps(results, indent=0), encoding="utf-8")
    if not names or "arrays" in names:
        results += array_cases()
    path.write_text(json.dumps(results, indent=0), encoding="utf-8")
    for cls, n in Counter(r["verdict"] for r in results).most_common():
        print(f"{n:6d}  {cls}")


def table(results: list[dict]) -> str:
    """Give the table of outcomes by room."""
    rooms = sorted({r["room"] for r in results})
    counts = Counter((r["room"], r["verdict"]) for r in results)
    rows = [[room, *(counts[room, cls] for cls in CLASSES)] for room in rooms]
    rows.append(["all", *(sum(row[i] for row in rows) for i in range(1, len(CLASSES) + 1))])
    rows = [[row[0], f"{sum(row[1:]):,}", *(f"{n:,}" for n in row[1:])] for row in rows]
    return markdown(["subpackage", "cases", *CLASSES], rows)


if __name__ == "__main__":
    main()
