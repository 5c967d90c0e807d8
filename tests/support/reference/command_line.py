"""Fills the page of the command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args, get_type_hints

import typer.main

from meshcore import Settings
from meshcore.cli import errors, program
from tests.support.reference.markdown import block, code, paragraphs, sentence, table

_SETTINGS: Final = {"advertise": "advertise_url"}
"""What an option is called in the settings, where it is another name."""
_KINDS: Final = {bool: "", int: "N", float: "SECONDS", str: "TEXT"}
_STATUSES: Final = [
    (0, "It worked. `run` was told to end, and did so in order."),
    (1, "Anything else. Of `diff`: a change that breaks callers."),
    (errors.LOCAL, "What was typed, set or declared cannot work."),
    (errors.COMMUNICATION, "Communication failed: the registry, nobody to ask, or no answer in time."),
    (errors.REMOTE, "The server answered with an error, also with one that the interface declares."),
    (errors.AUTHORIZATION, "Not authenticated, or not allowed."),
    (errors.INTERRUPTED, "Ctrl-C."),
    (errors.PIPE_CLOSED, "The reader of the output closed the pipe, as in `meshcore ls | head -1`."),
]


def command_line() -> Callable[[str], str]:
    """Every command."""
    group: Any = typer.main.get_command(program.build())
    parts = {
        "commands": lambda: table(
            ("command", "what it does"),
            [(f"[{name}](#meshcore-{name})", _help(each)) for name, each in group.commands.items()],
        ),
        "options": lambda: _options(group),
        "each command": lambda: paragraphs(*(_command(name, each) for name, each in group.commands.items())),
        "exit statuses": lambda: table(("status", "meaning"), [(str(number), text) for number, text in _STATUSES]),
    }
    return lambda place: parts[place]()


def _command(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    words = [_word(each) for each in arguments]
    rows = [(code(each.name.upper()), _default(each), sentence(each.help or "")) for each in arguments]
    return paragraphs(
        f"## meshcore {name}",
        _help(command),
        block("text", " ".join(["meshcore", name, *words, "[OPTIONS]"])),
        table(("argument", "default", "meaning"), rows) if rows else "",
        _options(command),
    )


def _options(command: Any) -> str:
    kinds = {name: _kind(hint) for name, hint in get_type_hints(command.callback).items()}
    rows = [
        (
            code(" ".join([*each.opts, *([] if each.is_flag else [kinds[each.name]])])),
            _default(each),
            sentence(each.help or ""),
        )
        for each in command.params
        if each.param_type_name == "option" and each.name != "help"
    ]
    return table(("option", "default", "meaning"), rows) if rows else ""


def _help(command: Any) -> str:
    return sentence(" ".join(command.help.split()))


def _word(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _kind(hint: Any) -> str:
    """What is typed after an option. Not asked of typer, whose objects say it in another way in each version."""
    return next((text for kind, text in _KINDS.items() if kind in {hint, *get_args(hint)}), "")


def _default(parameter: Any) -> str:
    name = _SETTINGS.get(parameter.name, parameter.name)
    if parameter.required:
        return "required"
    if parameter.default not in (None, "", False):
        return code(parameter.default)
    return f"the setting {code(name)}" if name in Settings.__struct_fields__ else ""
