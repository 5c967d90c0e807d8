"""Settings: the order of their sources, and what is said of everything that does not fit."""

import importlib
import inspect
import math
import pkgutil
from pathlib import Path

import msgspec
import pytest

import meshcore
from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import MISSING
from meshcore.core.settings import SETTING_NAMES, Settings
from meshcore.mesh.settings_loader import load_settings
from meshcore.ports.installed import make_registry


@pytest.fixture
def write(tmp_path):
    """Writes the files of a working directory."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name}.toml").write_text(text)
        return tmp_path

    return write


def problems_of(**given) -> tuple[str, ...]:
    """What loading complains about."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**given)
    return caught.value.problems


def test_defaults(tmp_path):
    """Nothing has to be set, and each field says that its value is the default."""
    settings = load_settings(environ={}, directory=tmp_path)
    assert settings == Settings(sources=settings.sources)
    assert settings.registry == "directory:"
    assert settings.advertise_url == "http://127.0.0.1:8000"
    assert settings.max_body == 4 * 1024 * 1024
    assert set(settings.sources.values()) == {"default"}
    assert set(settings.sources) == set(Settings.__struct_fields__) - {"sources", "environ"}


def test_the_order_of_the_sources(write):
    """pyproject.toml is overruled by meshcore.toml, that by the environment, that by arguments, key by key."""
    directory = write(
        pyproject="[tool.meshcore]\ntimeout = 1\nzone = 'a'\nversion = 'a'\nmax_body = 1\nweight = 2",
        meshcore="timeout = 2\nzone = 'b'\nversion = 'b'\nmax_body = 2",
    )
    environ = {"MESHCORE_TIMEOUT": "3", "MESHCORE_ZONE": "c", "MESHCORE_VERSION": "c"}
    settings = load_settings({"timeout": 4, "zone": "d"}, environ=environ, directory=directory)
    found = {name: (getattr(settings, name), settings.sources[name]) for name in settings.sources}
    assert found["timeout"] == (4.0, "argument")
    assert found["zone"] == ("d", "argument")
    assert found["version"] == ("c", "environment MESHCORE_VERSION")
    assert found["max_body"] == (2, "meshcore.toml")
    assert found["weight"] == (2, "pyproject.toml [tool.meshcore]")
    assert found["drain"] == (20.0, "default")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("MESHCORE_MODULE", "shop.app:Shop", "shop.app:Shop"),
        (
            "MESHCORE_REGISTRY",
            "static:orders=dispatch-json(http://h1:8000)",
            "static:orders=dispatch-json(http://h1:8000)",
        ),
        ("MESHCORE_ADVERTISE_URL", "https://host/prefix", "https://host/prefix"),
        ("MESHCORE_TIMEOUT", "1e1", 10.0),
        ("MESHCORE_TIMEOUT", "inf", math.inf),
        ("MESHCORE_DRAIN", "0", 0.0),
        ("MESHCORE_MAX_THREADS", "7", 7),
        ("MESHCORE_DEBUG", "TRUE", True),
        ("MESHCORE_DEBUG", "1", True),
        ("MESHCORE_VERIFY_ADVERTISE", "false", False),
        ("MESHCORE_VERSION", "12", "12"),
        ("MESHCORE_VALUE_SOURCE", "consul://host:8500/my/prefix", "consul://host:8500/my/prefix"),
    ],
)
def test_the_environment_is_text(variable, text, expected, tmp_path):
    """A variable is read as the type of its field."""
    settings = load_settings(environ={variable: text}, directory=tmp_path)
    assert getattr(settings, variable.removeprefix("MESHCORE_").lower()) == expected


def test_not_given(tmp_path):
    """An empty variable and an argument that is None leave what was there."""
    settings = load_settings({"zone": None}, environ={"MESHCORE_TIMEOUT": "", "PATH": "/bin"}, directory=tmp_path)
    assert (settings.timeout, settings.zone) == (10.0, "")


NAMES = ", ".join(SETTING_NAMES)


@pytest.mark.parametrize(
    ("arguments", "environ", "toml", "problem"),
    [
        ({"timout": 1}, {}, "", "argument: timout: no such setting; did you mean timeout?"),
        ({"sources": {}}, {}, "", "argument: sources: no such setting; did you mean value_source?"),
        ({"environ": {}}, {}, "", f"argument: environ: no such setting; there are {NAMES}"),
        (
            {},
            {"MESHCORE_MAX_BDY": "1"},
            "",
            "environment MESHCORE_MAX_BDY: no such setting; did you mean MESHCORE_MAX_BODY?",
        ),
        ({}, {"MESHCORE_X": "1"}, "", f"environment MESHCORE_X: no such setting; there are {NAMES}"),
        ({}, {}, "max-body = 1", "meshcore.toml: max-body: no such setting; did you mean max_body?"),
        ({}, {}, "timeout = 0", "meshcore.toml: timeout must be a number of seconds above 0, got 0"),
        ({}, {}, "timeout = nan", "meshcore.toml: timeout must be a number of seconds above 0, got nan"),
        ({}, {}, "timeout = '5'", "meshcore.toml: timeout must be a number of seconds above 0, got '5'"),
        ({}, {}, "request_timeout = -1", "meshcore.toml: request_timeout must be a number of seconds above 0, got -1"),
        ({}, {}, "drain = inf", "meshcore.toml: drain must be a number of seconds from 0 to 86400, got inf"),
        ({}, {}, "max_body = 0", "meshcore.toml: max_body must be a number of bytes above 0, got 0"),
        ({}, {}, "max_body = '4 MiB'", "meshcore.toml: max_body must be a number of bytes above 0, got '4 MiB'"),
        ({}, {}, "max_depth = 501", "meshcore.toml: max_depth must be a whole number from 1 to 500, got 501"),
        ({}, {}, "max_threads = 1.5", "meshcore.toml: max_threads must be a whole number above 0, got 1.5"),
        ({}, {}, "debug = 1", "meshcore.toml: debug must be true or false, got 1"),
        ({}, {}, "zone = ['a']", "meshcore.toml: zone must be text, got ['a']"),
        ({}, {}, "values = 3", "meshcore.toml: values must be a table, got 3"),
        (
            {},
            {"MESHCORE_DEBUG": "yes"},
            "",
            "environment MESHCORE_DEBUG: debug must be true or false, got 'yes'",
        ),
        (
            {},
            {"MESHCORE_WEIGHT": "heavy" * 100},
            "",
            "environment MESHCORE_WEIGHT: weight must be a whole number, 0 or more, got '" + "heavy" * 15 + "heav...",
        ),
        (
            {},
            {"MESHCORE_VALUES": "x"},
            "",
            (
                "environment MESHCORE_VALUES: values have variables of their own: "
                'ORDERS_CURRENCY is @inject_value("orders.currency")'
            ),
        ),
        ({"module": "shop.app"}, {}, "", "argument: module must be \"package.module:Class\", got 'shop.app'"),
        (
            {"registry": "/registry"},
            {},
            "",
            'argument: registry must be a registry URL such as "directory:" or "consul://host:8500", got \'/registry\'',
        ),
        (
            {"advertise_url": "localhost:8000"},
            {},
            "",
            "argument: advertise_url must be a URL such as \"http://host:8000\", got 'localhost:8000'",
        ),
    ],
)
def test_what_does_not_fit(arguments, environ, toml, problem, write):
    """A message names the source, the setting, what it takes and what it got."""
    assert problems_of(arguments=arguments, environ=environ, directory=write(meshcore=toml)) == (problem,)


LINKS = {
    "MESHCORE_SERVICE_HOST": "10.96.0.7",
    "MESHCORE_SERVICE_PORT": "80",
    "MESHCORE_SERVICE_PORT_HTTP_ALT": "80",
    "MESHCORE_PORT": "tcp://10.96.0.7:80",
    "MESHCORE_PORT_80_TCP": "tcp://10.96.0.7:80",
    "MESHCORE_PORT_80_TCP_PROTO": "tcp",
    "MESHCORE_PORT_80_TCP_PORT": "80",
    "MESHCORE_PORT_80_TCP_ADDR": "10.96.0.7",
    "MESHCORE_MY_ORDERS_PORT": "udp://[fd00::7]:53",
    "MESHCORE_MY_ORDERS_PORT_53_UDP_ADDR": "fd00::7",
    "MESHCORE_MY_ORDERS_SERVICE_HOST": "fd00::7",
    "MESHCORE_MY_ORDERS_SERVICE_PORT": "53",
}


def test_variables_that_kubernetes_makes_of_services_are_passed_over(tmp_path, caplog):
    """Services called meshcore and meshcore-my-orders put variables with our prefix into each container."""
    settings = load_settings(environ={**LINKS, "MESHCORE_ZONE": "a"}, directory=tmp_path)
    assert settings.zone == "a"
    (warning,) = caplog.messages
    assert warning == (
        f"{', '.join(sorted(LINKS))}: ignored, since they describe a service of Kubernetes; enableServiceLinks: false "
        "in the pod's spec keeps them out"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {"MESHCORE_PORT": "8000"},
        {"MESHCORE_SERVICE_HOST": "10.96.0.7"},
        {**LINKS, "MESHCORE_PORTS": "8000"},
        {**LINKS, "MESHCORE_ORDERS_SERVICE_HOST": "10.96.0.7"},
        {**LINKS, "MESHCORE_SERVICE_HOSTS": "10.96.0.7"},
        {**LINKS, "MESHCORE_PORT_80_HTTP": "x"},
    ],
)
def test_what_looks_like_them_but_describes_no_service_is_unknown(environ, tmp_path):
    """Only the whole form counts, of a service whose MESHCORE_..._PORT has an address."""
    (problem,) = problems_of(environ=environ, directory=tmp_path)
    assert ": no such setting" in problem


def test_everything_at_once(write):
    """All problems of all sources come in one error."""
    directory = write(pyproject="[tool.meshcore]\nzonne = 1\nweight = -1", meshcore="timeout = 0")
    problems = problems_of(arguments={"drain": -1}, environ={"MESHCORE_DEBUG": "maybe"}, directory=directory)
    assert [problem.partition(":")[0] for problem in problems] == [
        "pyproject.toml [tool.meshcore]",
        "pyproject.toml [tool.meshcore]",
        "meshcore.toml",
        "environment MESHCORE_DEBUG",
        "argument",
    ]


def test_a_file_that_cannot_be_read(write):
    """A broken file is a problem like others, with its path and the place in it."""
    directory = write(pyproject="[tool.meshcore\n", meshcore="timeout = 0")
    first, second = problems_of(environ={}, directory=directory)
    assert first.startswith(f"{directory / 'pyproject.toml'}: cannot be read: Expected ']'")
    assert "line 1" in first
    assert second.startswith("meshcore.toml: timeout")


def test_a_file_that_is_no_text(write):
    """Bytes that are not UTF-8 are no traceback."""
    directory = write()
    (directory / "meshcore.toml").write_bytes(b"zone = '\xff'")
    (problem,) = problems_of(environ={}, directory=directory)
    assert problem.startswith(f"{directory / 'meshcore.toml'}: cannot be read: 'utf-8' codec can't decode")


@pytest.mark.parametrize("toml", ["tool = 3", "[tool]\nmeshcore = 3", "[[tool.meshcore]]"])
def test_a_table_that_is_none(toml, write):
    """`[tool.meshcore]` has to be a table."""
    (problem,) = problems_of(environ={}, directory=write(pyproject=toml))
    assert problem.startswith("pyproject.toml [tool.meshcore]: must be a table, got ")


@pytest.mark.parametrize("toml", ["", "[tool]", "[tool.other]\ntimeout = 0", "[project]\nname = 'x'"])
def test_a_project_without_settings(toml, write):
    """A pyproject.toml that does not speak of the mesh says nothing."""
    assert load_settings(environ={}, directory=write(pyproject=toml)).timeout == 10.0


def test_values(write):
    """Nested tables of all sources become dotted keys, and say where they came from."""
    directory = write(
        pyproject="[tool.meshcore.values]\na = 1\n[tool.meshcore.values.orders]\ncurrency = 'EUR'\nlimit = 10",
        meshcore="[values.orders]\nlimit = 20\nregions = ['a', 'b']\n[values.orders.tax]\nrate = 0.19\n[values.none]",
    )
    arguments = {"values": {"orders.limit": 30}}
    settings = load_settings(arguments, environ={}, directory=directory)
    assert settings.values == {
        "a": 1,
        "orders.currency": "EUR",
        "orders.limit": 30,
        "orders.regions": ["a", "b"],
        "orders.tax.rate": 0.19,
        "none": {},
    }
    assert settings.sources["values.orders.currency"] == "pyproject.toml [tool.meshcore]"
    assert settings.sources["values.orders.tax.rate"] == "meshcore.toml"
    assert settings.sources["values.orders.limit"] == "argument"


def test_lookup(write):
    """A value comes from an argument, else its own environment variable, else the files, else it is missing."""
    directory = write(meshcore="[values.orders]\ncurrency = 'EUR'\nlimit = 20\nnone-yet = 1\nname = 'file'")
    environ = {"ORDERS_LIMIT": "30", "ORDERS_NONE_YET": "2", "ORDERS_NAME": "environment", "ORDERS_EMPTY": ""}
    settings = load_settings({"values": {"orders": {"name": "argument"}}}, environ=environ, directory=directory)
    assert settings.lookup("orders.currency") == "EUR"
    assert settings.lookup("orders.limit") == "30"
    assert settings.lookup("orders.none-yet") == "2"
    assert settings.lookup("orders.name") == "argument"
    assert settings.lookup("orders.empty") == ""
    assert settings.lookup("orders.unknown") is MISSING


def test_the_environment_is_captured(tmp_path):
    """What happens to the environment after loading changes nothing."""
    environ = {"ORDERS_CURRENCY": "EUR"}
    settings = load_settings(environ=environ, directory=tmp_path)
    environ["ORDERS_CURRENCY"] = "USD"
    assert settings.lookup("orders.currency") == "EUR"


def test_the_working_directory_is_the_default(write, monkeypatch):
    """Without a directory the files of the working directory count, and the process's environment."""
    monkeypatch.chdir(write(meshcore="zone = 'here'"))
    monkeypatch.setenv("MESHCORE_VERSION", "7")
    settings = load_settings()
    assert (settings.zone, settings.version) == ("here", "7")


def test_built_by_hand():
    """Settings that somebody builds without loading are checked too, all fields at once."""
    assert Settings(timeout=5).timeout == 5
    with pytest.raises(ConfigurationError) as caught:
        Settings(timeout=0, weight=-1)
    assert caught.value.problems == (
        "timeout must be a number of seconds above 0, got 0",
        "weight must be a whole number, 0 or more, got -1",
    )
    with pytest.raises(ConfigurationError):
        msgspec.structs.replace(Settings(), debug="yes")


def test_immutable():
    """Settings never change."""
    with pytest.raises(AttributeError):
        Settings().timeout = 5


def test_repr_keeps_secrets(tmp_path):
    """Neither values nor the environment are shown, where passwords may stand."""
    arguments = {"zone": "north", "values": {"password": "hunter2"}}
    shown = repr(load_settings(arguments, environ={"TOKEN": "hunter2"}, directory=tmp_path))
    assert "zone='north'" in shown
    assert "values=<1 keys>" in shown
    assert "hunter2" not in shown


SECRETS = "//user:HUNTER2@h:8500/x?token=HUNTER2&datacenter=d"


@pytest.mark.parametrize(
    "url",
    [f"{scheme}:{SECRETS}" for scheme in ("consull", "directory", "local", "consul")]
    + ["static:orders=rest(//user:HUNTER2@h:1)"],
)
def test_a_registry_that_does_not_fit_tells_no_secret(url):
    """Errors are logged and pasted into tickets."""
    with pytest.raises(ValueError, match=url.partition(":")[0]) as caught:
        make_registry(url)
    assert "HUNTER2" not in str(caught.value)


def test_settings_tell_no_secret(tmp_path):
    """Neither as text, nor when one does not fit."""
    assert "HUNTER2" not in repr(Settings(registry=f"consul:{SECRETS}", value_source=f"consul:{SECRETS}"))
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"module": SECRETS}, environ={"MESHCORE_REGISTRY": SECRETS}, directory=tmp_path)
    assert len(caught.value.problems) == 2
    assert "HUNTER2" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        Settings(registry=SECRETS)
    assert "HUNTER2" not in str(caught.value)


def test_no_signature_shows_the_environment(monkeypatch):
    """`help`, editors and tracebacks with defaults print signatures, in which passwords must not stand."""
    monkeypatch.setenv("ORDERS_PASSWORD", "hush-hush")
    names = [each.name for each in pkgutil.walk_packages(meshcore.__path__, "meshcore.") if "__main__" not in each.name]
    telling, seen = [], 0
    for name in names:
        for found in list(vars(importlib.import_module(name)).values()):
            members = [vars(found)[key] for key in vars(found)] if isinstance(found, type) else []
            for function in (found, *members):
                if inspect.isfunction(function) and function.__module__.startswith("meshcore."):
                    seen += 1
                    if "hush-hush" in str(inspect.signature(function)):
                        telling.append(f"{function.__module__}.{function.__qualname__}")
    assert seen > 500
    assert telling == []


def test_the_environment_is_read_when_it_is_called(monkeypatch, tmp_path):
    """By default it is that of the process, as it is then."""
    monkeypatch.setenv("MESHCORE_ZONE", "eu-1")
    assert load_settings(directory=tmp_path).zone == "eu-1"
    assert load_settings(environ={}, directory=tmp_path).zone == ""


def test_lists_of_names_are_lists_or_texts_with_commas(tmp_path):
    """As an argument, in the environment and in a file."""
    expected = ("shop.example", "*.shop.example")
    text = "shop.example, *.shop.example,"
    assert Settings(allowed_hosts=list(expected)).allowed_hosts == expected
    assert Settings(allowed_hosts=text).allowed_hosts == expected
    assert load_settings(environ={"MESHCORE_ALLOWED_HOSTS": text}, directory=tmp_path).allowed_hosts == expected
    (tmp_path / "meshcore.toml").write_text('allowed_hosts = ["shop.example", "*.shop.example"]')
    assert load_settings(environ={}, directory=tmp_path).allowed_hosts == expected


@pytest.mark.parametrize(
    ("name", "fitting", "others"),
    [
        (
            "allowed_hosts",
            ("shop.example", "*.shop.example", "localhost", "10.0.0.1", "[::1]", "::1"),
            ("http://shop.example", "shop.example:8000", "shop.example/", "*", "shop.*"),
        ),
        (
            "allowed_origins",
            ("https://shop.example", "http://localhost:3000", "https://shop.example/", "*", "null"),
            ("shop.example", "localhost:3000", "https://shop.example/path", "https://"),
        ),
    ],
)
def test_names_that_no_request_could_have(name: str, fitting: tuple[str, ...], others: tuple[str, ...]) -> None:
    """They are refused at the start: otherwise everybody would be refused later."""
    assert getattr(Settings(**{name: fitting}), name) == fitting
    for other in others:
        with pytest.raises(ConfigurationError, match=f"{name} must be .* such as "):
            Settings(**{name: (fitting[0], other)})
