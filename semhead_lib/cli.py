"""`semhead COMMAND key=value ...`: how a command is found, configured and explained, and how errors
reach the terminal.

A command is one entry of `commands.table`, one dataclass of `semhead_lib.conf` and one function.
Exit codes: 0 done, 1 the job failed, 2 the command line is wrong, 130 interrupted.
`SEMHEAD_DEBUG=1` shows tracebacks.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import sys
import textwrap
import warnings
from pathlib import Path

from semhead_lib import __version__
from semhead_lib.commands.table import COMMANDS, Command
from semhead_lib.conf.compose import compose_config
from semhead_lib.conf.keys import about, groups_of, keys_of, named_values_of
from semhead_lib.errors import UsageError, did_you_mean
from semhead_lib.settings import REQUIRED


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if arguments is None:
        arguments = sys.argv[1:]
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # schedulers send it: save and stop, as for Ctrl-C
    debug = os.environ.get("SEMHEAD_DEBUG", "") not in ("", "0")
    formatwarning = warnings.formatwarning
    warnings.formatwarning = _warning_in_words
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        _say("interrupted; the same command resumes")
        return 130
    except BrokenPipeError:  # the reader of a pipe (head, less) has gone: nothing left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if debug:
            raise
        _say(f"error: {_in_words(error)}")
        return 2 if isinstance(error, UsageError) else 1
    finally:
        warnings.formatwarning = formatwarning


def _warning_in_words(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Of ours: the sentence alone; of others, where in their code as well."""
    ours = category is UserWarning and Path(filename).is_relative_to(Path(__file__).parent)
    return f"warning: {message}\n" if ours else f"{filename}:{lineno}: {message}\n"


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] in ("--version", "-V"):
        print(f"semhead {__version__}")
        return 0
    command, rest = find_command(arguments)
    if any(word in ("-h", "--help") for word in rest):
        print(command_help(command, rest))
        return 0
    config = configure(command, rest)
    if not command.shared and int(os.environ.get("RANK", 0)) > 0:
        _say(f"'{command.name}' is done by the first process alone")
        return 0
    module, function = command.function.split(":")
    return int(getattr(importlib.import_module(module), function)(config) or 0)


def find_command(arguments: list[str]) -> tuple[Command, list[str]]:
    """The command that the first words name, and the words after it. Raises UsageError naming the
    nearest."""
    for command in COMMANDS:
        words = command.name.split()
        if arguments[: len(words)] == words:
            return command, arguments[len(words) :]
    names = [command.name for command in COMMANDS]
    family = [name for name in names if name.split()[0] == arguments[0]]
    typed = " ".join(arguments[:2] if family and len(arguments) > 1 else arguments[:1])
    if family and (len(arguments) == 1 or arguments[1] in ("-h", "--help")):
        raise UsageError(f"'{typed.split()[0]}' needs one more word: {', '.join(family)}")
    hint = did_you_mean(typed, family or names) or f": there are {', '.join(family or names)}"
    raise UsageError(f"unknown command '{typed}'{hint}")


def configure(command: Command, words: list[str]):
    """The command's checked configuration. Raises UsageError."""
    pairs, bare = [], []
    for word in words:
        if word.startswith("-"):
            name = re.split(r"[= ]", word.lstrip("-"))[0].replace("-", "_")
            raise UsageError(f"'{word}': keys are written without dashes, as {name}=VALUE")
        if re.match(r"^[\w.]+=", word):
            pairs.append(tuple(word.split("=", 1)))
        else:
            bare.append(word)
    if command.many:
        pairs, bare = [(command.many, "\n".join(bare))] * bool(bare) + pairs, []
    if len(bare) > len(command.positional):
        takes = " ".join(command.positional).upper() or "nothing"
        raise UsageError(
            f"'{bare[len(command.positional)]}': '{command.name}' takes {takes} and key=value words"
        )
    pairs = list(zip(command.positional, bare, strict=False)) + pairs
    return compose_config(command.config, pairs)


def overview() -> str:
    """`semhead --help`."""
    usages = {c.usage: c.summary for c in COMMANDS}
    width = max(map(len, usages)) + 2
    return "\n".join(
        [
            "semhead: full-head 3D GANs conditioned on view-invariant semantics",
            "",
            "usage: semhead COMMAND [key=value ...]",
            "",
            *(f"  {usage:<{width}}{summary}" for usage, summary in usages.items()),
            "",
            "'semhead COMMAND --help' shows its keys, their defaults and what they mean.",
        ]
    )


def command_help(command: Command, words: list[str]) -> str:
    """`semhead COMMAND [group=option ...] --help`: every key, its default and what it means."""
    lines = [f"usage: semhead {command.usage} [key=value ...]", "", f"{command.summary}.", ""]
    lines += about(command.config).splitlines()
    given, choices = dict(word.split("=", 1) for word in words if "=" in word), {}
    for name, group in groups_of(command.config).items():
        options = group["options"]
        choices[name] = given[name] if given.get(name) in options else group["chosen"]
        lines += ["", f"{name}={choices[name]}  one of:"]
        for option in sorted(options):
            lines += _wrapped(f"  {option}", " ".join(about(options[option]).split()))
    lines += ["", "keys:"]
    for key in keys_of(command.config, choices):
        default = "(needed)" if key.default == REQUIRED else f"= {key.written}"
        lines += _wrapped(f"  {key.name} {default}", f"{key.help} [{key.allowed.text}]")
    if field := named_values_of(command.config):
        lines += _wrapped(f"  {field.metadata['form']}", field.metadata["help"])
    return "\n".join(lines)


def _wrapped(left: str, right: str, column: int = 34) -> list[str]:
    """`left`, then `right` wrapped from `column` on; on a line of its own where left is too long."""
    width = max(shutil.get_terminal_size((120, 24)).columns, column + 30)
    text = textwrap.wrap(right, width - column, break_on_hyphens=False) or [""]
    head = [left] if len(left) >= column - 1 else [f"{left:<{column}}{text.pop(0)}".rstrip()]
    return head + [" " * column + line for line in text]


def _in_words(error: Exception) -> str:
    """The error's message; with its type where the message alone would say little."""
    message = str(error).strip()
    if isinstance(error, (ValueError, RuntimeError)) and message:
        return message
    if isinstance(error, OSError) and message:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else message
    if isinstance(error, ImportError):
        return f"{message}: 'semhead doctor' says what is missing"
    return f"{type(error).__name__}: {message} (SEMHEAD_DEBUG=1 shows where)"


def _say(message: str) -> None:
    print(f"semhead: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
