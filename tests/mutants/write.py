"""The mutants of a module: copies of it that are wrong in one place.

What is done at a place is what mutation testing does in general (Jia and Harman, An Analysis and Survey of the Development of Mutation Testing,
2011: the operators that replace relations, logic, arithmetic and constants, and the one that leaves out statements), and what a commit is
made of besides: handlers of errors and decorators. Cosmic Ray 8.7 was tried: it stops at `except a.B`, and leaves out no statement. Not here: the
tests (`__main__`). Invariants: every mutant can be compiled and is another program than the module; annotations, docstrings and what stands at
the head of a module but functions and classes are left alone.
"""

import ast
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

NEXT = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OTHER = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Pow: ast.Mult,
}


class Mutant(NamedTuple):
    """line: of the module, where it is wrong. what: was done there."""

    line: int
    what: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Give all mutants of a module."""
    tree = ast.parse(source)
    seen = set()
    for top in tree.body:
        if isinstance(top, ast.FunctionDef | ast.ClassDef):
            for node in _doing(top):
                for what, change in _changes(node):
                    if (changed := _changed(tree, node, change)) not in seen:
                        seen.add(changed)
                        yield Mutant(node.lineno, what, changed)


def _doing(node: ast.AST) -> Iterator[ast.stmt | ast.expr | ast.excepthandler]:
    """Give the nodes below one that do something: no annotation, no docstring."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, ast.stmt | ast.expr | ast.excepthandler):
                yield child
            if isinstance(child, ast.AST):
                yield from _doing(child)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """Give what can be done at a node, and what stands there then."""
    match node:
        case ast.Expr() | ast.Raise():
            yield "left out", ast.Pass()
        case ast.Break():
            yield "continue", ast.Continue()
        case ast.Continue():
            yield "break", ast.Break()
        case ast.If() | ast.While() | ast.IfExp():
            yield "not", _with(node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.For():
            yield "no turn", _with(node, "iter", ast.Tuple([], ast.Load()))
        case ast.ExceptHandler(type=ast.AST()):
            yield "catches nothing", _with(node, "type", ast.Tuple([], ast.Load()))
        case ast.FunctionDef(decorator_list=[_, *_]):
            kept = [
                each for each in node.decorator_list if ast.unparse(each) in {"property", "classmethod", "staticmethod"}
            ]
            if kept != node.decorator_list:
                yield "bare", _with(node, "decorator_list", kept)
        case ast.Compare(ops=[op]):
            for kinds in (NEXT, OTHER):
                if type(op) in kinds:
                    yield kinds[type(op)].__name__, _with(node, "ops", [kinds[type(op)]()])
        case ast.BoolOp() | ast.BinOp():
            if type(node.op) in OTHER:
                yield OTHER[type(node.op)].__name__, _with(node, "op", OTHER[type(node.op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "without", node.operand
        case ast.Constant(value=bool() as value):
            yield str(not value), ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield f"{value + 1}", ast.Constant(value + 1)


def _with(node: ast.AST, field: str, value: object) -> Any:
    other = copy.copy(node)
    setattr(other, field, value)
    return other


def _changed(tree: ast.Module, node: ast.AST, by: ast.AST | None) -> str:
    """Give the source with another node in one's place."""

    class Change(ast.NodeTransformer):
        def visit(self, each: ast.AST) -> ast.AST | None:
            return by if each is node else self.generic_visit(copy.copy(each))

        def generic_visit(self, each: ast.AST) -> ast.AST:
            for name, value in ast.iter_fields(each):
                if isinstance(value, list):
                    setattr(each, name, [self.visit(child) if isinstance(child, ast.AST) else child for child in value])
                elif isinstance(value, ast.AST):
                    setattr(each, name, self.visit(value))
            return each

    return ast.unparse(ast.fix_missing_locations(Change().visit(tree))) + "\n"
