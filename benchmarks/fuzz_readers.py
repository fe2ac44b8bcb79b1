"""Readers of files fed by atheris, a fuzzer that follows coverage, until their time is over.

    pip install atheris
    python benchmarks/fuzz_readers.py read_stations corpus -max_total_time=1200

`corpus` is a folder that keeps what reached new lines. A finding ends the run, with its input in a
file crash-*, which `python benchmarks/fuzz_readers.py READER FILE` repeats.
"""

import inspect
import json
import sys
from pathlib import Path
from tempfile import mkdtemp

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzzed_readers import READERS, estimator_file, feed

#: What the formats are written with; libFuzzer puts it in.
WORDS = [
    "x", "y", "gz", "gx", "gzz", "elevation", "[mGal]", "uGal", "_km", "m,mGal", "Line 100", "Tie",
    "1e400", "-9999", "1,5", "nan", "inf", "1D5", "3*2", "10000000000", "datacomp=", "ncols 3",
    "nrows 2", "NODATA_value", "cellsize", ";", "\\x09", "\\x00", "\\xff\\xfe", "\\x1a",
    '{\\"object\\":', '\\"array\\"', "null", "Infinity",
]  # fmt: skip


def instrument() -> None:
    """Let atheris see the branches of the readers."""
    for name, module in list(sys.modules.items()):
        if name.startswith("skgrav.io.") or name == "skgrav._checks":
            owners = [module, *(c for _, c in inspect.getmembers(module, inspect.isclass))]
            for owner in owners:
                for function in vars(owner).values():
                    if inspect.isfunction(function) and function.__module__ == name:
                        atheris.instrument_func(inspect.unwrap(function))


def main() -> None:
    """Feed one reader."""
    instrument()
    name, corpus, *options = sys.argv[1:]
    folder = Path(mkdtemp())
    path = folder / f"fuzzed{READERS[name].suffix}"
    seeds = READERS[name].seeds
    tensors = b""
    if name == "load":
        from saved_estimators import fitted, read

        fitted("bayes, uncertainty").save(folder / "estimator")
        tensors = (folder / "estimator").read_bytes()
        seeds = (json.dumps(read(folder / "estimator")[0]).encode(),)
    if Path(corpus).is_dir() or not Path(corpus).exists():
        Path(corpus).mkdir(exist_ok=True)
        for i, seed in enumerate(seeds):
            Path(corpus, f"seed{i}").write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS), encoding="utf-8")

    def one(content: bytes) -> None:
        feed(name, estimator_file(content, tensors) if name == "load" else content, path)

    arguments = [sys.argv[0], f"-dict={words}", "-timeout=20", "-rss_limit_mb=4096", *options]
    atheris.Setup([*arguments, corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
