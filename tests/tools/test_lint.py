"""The house's own checks: each must find what it is for, and leave the rest alone."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lint_size = load("lint_size")
lint_includes = load("lint_includes")


def functions(text):
    return list(lint_size.c_functions(text))


def test_functions_are_found_and_measured():
    text = """
#define MACRO(x) do { if (x) { } } while (0)
struct s { int a; };
static const struct s table[] = { { 1 }, { 2 } };
enum { A, B };
int declared(int a);

/* if (comment) { */
static int
one(int a)
{
    return a; // && || ?
}

int two(const char *s, int (*call)(void)) {
    if (s[0] == '{' && call())
        return '"';
    for (;;)
        while (*s ? 1 : 0)
            puts("} else if (x) {");
}
"""
    assert functions(text) == [("one", 10, 4, 1), ("two", 15, 7, 6)]


def test_a_switch_counts_once():
    body = "\n".join(f"    case {i}: return {i};" for i in range(30))
    text = f"int f(int a)\n{{\n    switch (a) {{\n{body}\n    }}\n    return 0;\n}}\n"
    assert functions(text) == [("f", 1, 36, 2)]


def test_attributes_and_conditionals_do_not_confuse():
    text = """
__attribute__((format(printf, 1, 2))) int f(const char *a, ...)
{
#ifdef X
    if (a) {
#else
    if (!a) {
#endif
        return 1;
    }
    return 0;
}
int g(void)
{
    return 1;
}
"""
    assert [name for name, *_ in functions(text)] == ["f", "g"]
    assert functions(text)[0][3] == 2


def complaints(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return list(lint_size.look(path, []))


@pytest.mark.parametrize("lines, bad", [(600, 0), (601, 1)])
def test_long_files(tmp_path, lines, bad):
    assert len(complaints(tmp_path, "x.sql", "--\n" * lines)) == bad


@pytest.mark.parametrize("lines, bad", [(70, 0), (71, 1)])
def test_long_functions(tmp_path, lines, bad):
    text = "void f(void)\n{\n" + "    g();\n" * (lines - 3) + "}\n"
    assert len(complaints(tmp_path, "x.c", text)) == bad
    text = "def f():\n" + "    g()\n" * (lines - 1)
    assert len(complaints(tmp_path, "x.py", text)) == bad


@pytest.mark.parametrize("branches, bad", [(14, 0), (15, 1)])
def test_complex_functions(tmp_path, branches, bad):
    text = "void f(int a)\n{\n" + "    if (a)\n        g();\n" * branches + "}\n"
    assert len(complaints(tmp_path, "x.c", text)) == bad
    text = "def f(a):\n" + "    if a:\n        g()\n" * branches
    assert len(complaints(tmp_path, "tool", "#!/usr/bin/python3\n" + text)) == bad


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small repository; add(path, text) writes a file and returns what the check says of it."""
    for path in ("common/buf.h", "common/json.h", "common/pg_async.h", "planner/a.h", "executor/b.h"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("")
    monkeypatch.setattr(lint_includes, "ROOT", tmp_path)

    def add(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return list(lint_includes.check(path))

    return add


@pytest.mark.parametrize(
    "path, include",
    [
        ("common/json.c", '"common/buf.h"'),
        ("common/json.c", '"common/json.h"'),
        ("common/json_reader.c", '"common/json.h"'),
        ("planner/x.c", '"planner/a.h"'),
        ("planner/x.c", '"common/json.h"'),
        ("cli/main.c", '"common/json.h"'),
        ("tests/unit/test_x.c", '"planner/a.h"'),
        ("tests/unit/test_x.c", "<libpq-fe.h>"),
        ("bench/server.c", "<microhttpd.h>"),
        ("common/pg.c", "<libpq-fe.h>"),
        ("common/pg_async.c", "<libpq-fe.h>"),
        ("common/digest.c", "<openssl/evp.h>"),
        ("common/http_pool.c", "<curl/curl.h>"),
        ("planner/x.c", "<jansson.h>"),
        ("planner/x.c", "<string.h>"),
    ],
)
def test_includes_that_are_right(tree, path, include):
    assert tree(path, f"#include {include}\n") == []


@pytest.mark.parametrize(
    "path, include, word",
    [
        ("common/buf.c", '"common/json.h"', "comes after"),
        ("common/pg.c", '"common/pg_async.h"', "comes after"),
        ("common/novel.c", '"common/buf.h"', "ORDER"),
        ("common/json.c", '"planner/a.h"', "only itself"),
        ("planner/x.c", '"executor/b.h"', "only itself"),
        ("executor/x.c", '"planner/a.h"', "only itself"),
        ("cli/x.c", '"planner/a.h"', "only itself"),
        ("common/json.c", '"buf.h"', "from the root"),
        ("common/json.c", '"common/missing.h"', "from the root"),
        ("common/store.c", "<libpq-fe.h>", "alone"),
        ("planner/x.c", "<curl/curl.h>", "alone"),
        ("planner/x.c", "<librdkafka/rdkafka.h>", "alone"),
        ("common/store.c", "<uv.h>", "alone"),
        ("common/config.c", "  #  include <yaml.h>", "alone"),
    ],
)
def test_includes_that_are_wrong(tree, path, include, word):
    text = include if "include" in include else f"#include {include}"
    found = tree(path, text + "\n")
    assert len(found) == 1 and word in found[0]


def test_the_order_quoted_in_the_architecture(tree, tmp_path):
    right = ", ".join(lint_includes.ORDER)
    page = tmp_path / "ARCHITECTURE.md"
    page.write_text(f"text\n<!-- common order -->\n{right}\n<!-- end -->\n")
    assert list(lint_includes.check_architecture()) == []
    page.write_text(f"text\n<!-- common order -->\n{right.replace('arena, ', '')}\n<!-- end -->\n")
    assert len(list(lint_includes.check_architecture())) == 1


def test_every_module_of_the_order_exists():
    for module in lint_includes.ORDER:
        assert (ROOT / f"common/{module}.h").exists(), f"{module} stands in the order and has no header"


def test_an_unknown_check_is_refused():
    done = subprocess.run([ROOT / "tools/lint", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 64 and "nonsense" in done.stderr
