"""`make fuzz`: build the harness with libFuzzer and the sanitizers, run it, and write down what came of it.

    python -m fuzz.run RUNS [--write docs/results/reliability.md]

The corpus grows in build/corpus from one run to the next; an input that upsets a sanitizer is kept in build/.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from fuzz.seeds import write_seeds
from tests.soak.document import commit, put_section, today

ROOT = Path(__file__).resolve().parent.parent
HEADING = "# Fuzzed decoders"
COMPILE = (
    *("-std=c11", "-g", "-O1", "-ffp-contract=off"),
    *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"),
)


def main() -> int:
    """Fuzz; return the fuzzer's exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=int, help="inputs to try")
    parser.add_argument("--write", type=Path, help="put the result into this file")
    options = parser.parse_args()
    compiler = shutil.which("clang")
    if compiler is None:
        sys.exit("make fuzz needs clang (on Debian: apt install clang)")
    build = ROOT / "build"
    corpus, seeds, program = build / "corpus", build / "seeds", build / "fuzz_codec"
    corpus.mkdir(parents=True, exist_ok=True)
    write_seeds(seeds)
    subprocess.run([compiler, *COMPILE, "-o", program, ROOT / "fuzz" / "fuzz_codec.c"], check=True)
    limits = [f"-runs={options.runs}", "-max_len=4096", "-rss_limit_mb=1024", f"-artifact_prefix={build}/"]
    fuzzer = subprocess.Popen(
        [program, *limits, corpus, seeds], stderr=subprocess.PIPE, text=True, errors="replace"
    )
    assert fuzzer.stderr is not None
    done = None
    for line in fuzzer.stderr:
        print(line, end="", flush=True)
        done = re.match(r"Done (\d+) runs in (\d+) second", line) or done
    code = fuzzer.wait()
    result = "no finding" if code == 0 and done else f"A FINDING, exit code {code}: see the input in build/"
    text = (
        f"`make fuzz RUNS={options.runs}`, {today()}, commit {commit()}: libFuzzer with the address and\n"
        f"undefined-behaviour sanitizers on every decoder of the C file (fuzz/fuzz_codec.c): "
        f"{done[1] if done else 'fewer'} inputs in {done[2] if done else '?'} s, {result}."
    )
    if options.write:
        put_section(options.write, HEADING, text)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
