"""The executable's entry: picks what to run, and imports only what that needs."""

import sys


def main() -> None:
    """Run what the command line asks for, and end the process with its exit code."""
    match sys.argv[1:]:
        case ["guard", *words]:
            from schedmgr.worker import guard

            guard.main(words)
        case ["load-definitions", *words]:
            from schedmgr.core import loading

            loading.main(words)
        case ["sample", *words]:
            from schedmgr.sample import pipeline

            sys.exit(pipeline.run(words))
        case words:
            from schedmgr.cli import program

            sys.exit(program.run(words))


if __name__ == "__main__":
    main()
