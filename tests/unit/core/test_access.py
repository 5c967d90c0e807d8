"""Rules as people write them: what is wrong is said, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from meshcore import ConfigurationError, load_settings
from meshcore.core.access import AccessRule, Callers, decode_rules, read_rules
from meshcore.core.settings import Settings

GOOD: dict[str, Any] = {"name": "r", "methods": "orders.*", "callers": {"components": "billing"}, "effect": "allow"}


def test_single_values_stand_for_lists():
    """Single values stand for lists."""
    assert read_rules([GOOD]) == (AccessRule("r", ("orders.*",), Callers(("billing",)), "allow"),)
    claims = read_rules([{**GOOD, "callers": {"claims": {"role": "x", "level": [1, 2]}}}])[0].callers
    assert claims == Callers(claims={"role": ("x",), "level": (1, 2)})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "rules must be a list of tables, got dict"),
        (["x"], "rules[0] must be a table, got str"),
        (
            [{**GOOD, "callers": {"component": "x"}}],
            "rules[0].callers: no field 'component'; did you mean 'components'?",
        ),
        ([{**GOOD, "method": "x"}], "rules[0]: no field 'method'; did you mean 'methods'?"),
        ([{"name": "x", "methods": "*", "effect": "allow"}], "rules[0]: callers is missing"),
        ([{**GOOD, "effect": "block"}], "rules[0]: Invalid enum value 'block' - at `$.effect`"),
        ([{**GOOD, "callers": "all"}], 'rules[0]: callers must be "any", "proven", or a table of'),
        ([{**GOOD, "callers": ["x"]}], 'rules[0]: callers must be "any", "proven", or a table of'),
        ([{**GOOD, "callers": {}}], "rules[0] (r): callers says nothing"),
        ([{**GOOD, "callers": {"components": ["*"]}}], "rules[0] (r): callers.components: '*' cannot be the name"),
        ([{**GOOD, "callers": {"claims": {"role": []}}}], "rules[0] (r): callers.claims.role lists no values"),
        ([{**GOOD, "callers": {"claims": {"role": 1.5}}}], "rules[0]: Expected `array`, got `float`"),
        ([{**GOOD, "methods": []}], "rules[0] (r): methods names none"),
        ([{**GOOD, "methods": "a b"}], "rules[0] (r): methods: 'a b' is no pattern"),
        ([{**GOOD, "name": "a\nb"}], "name must be a text"),
        ([GOOD, GOOD], "rules[1]: another rule is called 'r'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(value, problem):
    """What is wrong is named with its place."""
    with pytest.raises(ConfigurationError) as caught:
        read_rules(value)
    assert problem in caught.value.message


def test_all_that_is_wrong_is_said_at_once():
    """All that is wrong is said at once."""
    with pytest.raises(ConfigurationError) as caught:
        read_rules([{**GOOD, "methods": []}, {**GOOD, "name": "s", "effects": ""}])
    assert len(caught.value.problems) == 2


def test_rules_in_a_value_source_are_json():
    """Rules in a value source are json."""
    assert decode_rules('[{"name":"r","methods":"*","callers":"any","effect":"deny"}]', "k")[0].effect == "deny"
    for raw in ("[", b"\xff", '{"a":1}'):
        with pytest.raises(ConfigurationError, match=r"k "):
            decode_rules(raw, "k")


def test_rules_in_settings(tmp_path):
    """Rules in settings."""
    (tmp_path / "meshcore.toml").write_text(
        '[[rules]]\nname = "r"\nmethods = "orders.*"\ncallers = "proven"\neffect = "allow"\n'
    )
    assert load_settings(environ={}, directory=tmp_path).rules[0].callers == "proven"
    assert Settings(rules=[GOOD]).rules[0].name == "r"  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"MESHCORE_RULES: rules are tables"):
        load_settings(environ={"MESHCORE_RULES": "[]"}, directory=tmp_path)
    (tmp_path / "meshcore.toml").write_text('[[rules]]\nname = "r"\n')
    with pytest.raises(ConfigurationError, match=r"meshcore.toml: rules\[0\]: methods is missing"):
        load_settings(environ={}, directory=tmp_path)
