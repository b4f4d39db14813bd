#!/usr/bin/python3
"""Holds the house's limits: files of 600 lines, functions of 70 lines, complexity of 15.

    lint_size.py [--list] FILE...

C and Python are looked into; of other files only the lines are counted. The complexity is McCabe's
with a switch counted once, however many cases it has: a table written as a switch is not complex.
So: 1, and 1 for each if, for, while, switch, ?:, && and ||. --list prints every function, worst last.
"""

import ast
import re
import sys
from pathlib import Path

FILE_LINES = 600
FUNCTION_LINES = 70
COMPLEXITY = 15

# Comments, literals and preprocessor lines, in one pass, so that none hides in another.
NOISE = re.compile(
    r"/\*.*?\*/|//[^\n]*"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])*'"
    r"|^[ \t]*#(?:[^\n\\]|\\.)*",
    re.S | re.M,
)
TOKEN = re.compile(r"[A-Za-z_]\w*|&&|\|\||[{}();=?\n]")
BRANCHES = {"if", "for", "while", "switch", "?", "&&", "||"}


def blank(match):
    """White space of the same shape, so that line numbers stay."""
    return re.sub(r"[^\n]", " ", match.group())


def without_else_branches(text):
    """Of #if ... #else ... #endif only the first branch, so that braces stay balanced."""
    out, hidden = [], []
    for line in text.split("\n"):
        directive = re.match(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b", line)
        if directive:
            word = directive.group(1)
            if word.startswith("if"):
                hidden.append(False)
            elif word == "endif" and hidden:
                hidden.pop()
            elif hidden:
                hidden[-1] = True
        out.append("" if any(hidden) and not directive else line)
    return "\n".join(out)


class CReader:
    """Walks the tokens of a C file and notices where a function begins and ends.

    Outside of braces, a name before a parenthesis is a candidate; `{` after the closing parenthesis
    makes it a function, `=` or `;` in between make it something else.
    """

    def __init__(self):
        self.line, self.depth, self.parens = 1, 0, 0
        self.previous, self.closed = "", False
        self.name, self.name_line = None, 0
        self.start, self.complexity = None, 0

    def outside(self, token):
        if token == "(":
            if self.parens == 0 and re.match(r"\w", self.previous) and not self.previous.startswith("__"):
                self.name, self.name_line = self.previous, self.line
            self.parens += 1
        elif token == ")":
            self.parens -= 1
            self.closed = self.parens == 0
        elif token == "{":
            self.depth = 1
            if self.closed and self.name:
                self.start, self.complexity = self.name_line, 1
        elif token in "=;":
            self.name, self.closed = None, False

    def inside(self, token):
        """The finished function, or None."""
        self.depth += {"{": 1, "}": -1}.get(token, 0)
        self.complexity += token in BRANCHES
        if self.depth > 0:
            return None
        done = (self.name, self.start, self.line - (self.start or 0) + 1, self.complexity)
        found = done if self.start else None
        self.name, self.start, self.closed = None, None, False
        return found


def c_functions(text):
    """(name, first line, lines, complexity) of every function that is defined."""
    reader = CReader()
    for token in TOKEN.findall(NOISE.sub(blank, without_else_branches(text))):
        if token == "\n":
            reader.line += 1
            continue
        if reader.depth > 0:
            function = reader.inside(token)
            if function:
                yield function
        else:
            reader.outside(token)
        reader.previous = token


def python_functions(text):
    """The same of Python: branches are what ast says they are."""
    branching = (ast.If, ast.For, ast.While, ast.IfExp, ast.ExceptHandler, ast.comprehension)
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        complexity = 1
        for inner in ast.walk(node):
            complexity += isinstance(inner, branching)
            if isinstance(inner, ast.BoolOp):
                complexity += len(inner.values) - 1
        yield node.name, node.lineno, node.end_lineno - node.lineno + 1, complexity


def is_python(path, text):
    return path.suffix == ".py" or re.match(r"#!.*python", text) is not None


def look(path, found):
    """The complaints about one file; its functions are added to `found`."""
    text = path.read_text(errors="replace")
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines; a file has at most {FILE_LINES}: split it by meaning"
    functions = ()
    if path.suffix in (".c", ".h"):
        functions = c_functions(text)
    elif is_python(path, text):
        functions = python_functions(text)
    for name, line, length, complexity in functions:
        found.append((complexity, length, f"{path}:{line}", name))
        if length > FUNCTION_LINES:
            yield f"{path}:{line}: {name} has {length} lines; a function has at most {FUNCTION_LINES}"
        if complexity > COMPLEXITY:
            yield f"{path}:{line}: {name} has complexity {complexity}; at most {COMPLEXITY}"


def main():
    arguments = sys.argv[1:]
    listing = "--list" in arguments
    found = []
    bad = 0
    for path in (Path(argument) for argument in arguments if argument != "--list"):
        for complaint in look(path, found):
            print(complaint)
            bad += 1
    if listing:
        for complexity, length, where, name in sorted(found):
            print(f"{complexity:4} {length:4}  {where}  {name}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
