"""An explanation as text."""

from __future__ import annotations

from meshcore.client.why import Explanation, InstanceState

RULES = {"timeout": (10.0, "default"), "balance": ("least-loaded", "policy of the component")}


def test_an_explanation_prints_as_tables():
    """The choice, the rules and who set them, and a line for each instance."""
    instances = (
        InstanceState("orders-1", "http://h1:8000", "", 1, "admitted", 0),
        InstanceState(
            "orders-20", "http://h2:8000", "north", 3, "ejected", 2, 0.0123, 1.0, "is probed in 0.5 s", version="1.4"
        ),
    )
    made = Explanation("orders.place", "orders", "rest", "a random instance", RULES, 3.0, instances)
    assert f"{made}\n" == (
        "orders.place of orders, over rest: a random instance\n"
        "\n"
        "rule     value         from\n"
        "timeout  10.0          default\n"
        "balance  least-loaded  policy of the component\n"
        "\n"
        "instance   url             version  zone   weight  state     in hand  latency  remark\n"
        "orders-1   http://h1:8000  -        -      1       admitted  0        -\n"
        "orders-20  http://h2:8000  1.4      north  3       ejected   2        12.3 ms  is probed in 0.5 s\n"
    )


def test_an_explanation_of_a_call_that_nobody_takes():
    """What the call would fail with, and how contracts differ."""
    made = Explanation(
        "orders.place", "orders", "", "any", {"timeout": (1.0, "call")}, problem="nobody", contract=("x",)
    )
    assert str(made).splitlines() == [
        "orders.place of orders, over no channel: any",
        "",
        "rule     value  from",
        "timeout  1.0    call",
        "",
        "nobody",
        "x",
    ]
