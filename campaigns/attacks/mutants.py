"""Mutants: copies of a module with one small fault each, made from its syntax tree."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True)
class Mutant:
    """One fault: the line it is on, the code before and after, and the module with the fault."""

    line: int
    before: str
    after: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"line {self.line}: `{_short(self.before)}` → `{_short(self.after)}`"


def _short(code: str) -> str:
    text = " ".join(code.split()).replace("|", "\\|")
    return text if len(text) <= 90 else text[:89] + "…"


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    skipped = _not_code(tree)
    nodes = (node for node in ast.walk(tree) if id(node) not in skipped)
    places = [node for node in nodes if isinstance(node, ast.expr | ast.stmt | ast.excepthandler | ast.arg)]
    places.sort(key=lambda node: (node.lineno, node.col_offset))
    for node in places:
        for change in _changes(node):
            # The copy has a node at the same place in the walk.
            number = next(i for i, each in enumerate(ast.walk(tree)) if each is node)
            fault = copy.deepcopy(tree)
            target = next(each for i, each in enumerate(ast.walk(fault)) if i == number)
            before = ast.unparse(target)
            replaced = change(target)
            if replaced is not target:
                _Replace(target, replaced).visit(fault)
                ast.fix_missing_locations(fault)
            yield Mutant(node.lineno, before, ast.unparse(replaced), fault)


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, new: ast.AST) -> None:
        self._target, self._new = target, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._target:
            return ast.copy_location(self._new, node)
        return self.generic_visit(node)


def _not_code(tree: ast.Module) -> set[int]:
    """Return the nodes that no test can see, such as annotations, options of classes and docstrings."""
    ignored: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign():
                ignored.append(node.annotation)
            case ast.arg() if node.annotation is not None:
                ignored.append(node.annotation)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                ignored += node.decorator_list
                ignored += [node.returns] if node.returns else []
            case ast.ClassDef():
                ignored += [*node.decorator_list, *node.keywords]
            case ast.Expr(value=ast.Constant(value=str())) | ast.Import() | ast.ImportFrom() | ast.Assert():
                ignored.append(node)
            case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
                ignored.append(node)
            case ast.Assign(value=ast.BinOp(op=ast.BitOr())):
                ignored.append(node.value)
            case _:
                pass
    return {id(below) for node in ignored for below in ast.walk(node)}


def _changes(node: ast.AST) -> Iterator[Callable[[ast.AST], ast.AST]]:
    """Yield functions that put one fault into a copy of the node."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in COMPARISONS:
            yield _swap_comparison
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield lambda copied: _set(copied, op=OPERATORS[type(node.op)]())
        case ast.BoolOp():
            other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield lambda copied: _set(copied, op=other)
        case ast.UnaryOp(op=ast.Not()):
            yield lambda copied: copied.operand  # type: ignore[attr-defined]
        case ast.Constant(value=bool() as value):
            yield lambda copied: _set(copied, value=not value)
        case ast.Constant(value=int() | float() as number):
            yield lambda copied: _set(copied, value=number + 1)
        case ast.If() | ast.While() | ast.IfExp() if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            yield lambda copied: _set(copied, test=ast.UnaryOp(op=ast.Not(), operand=copied.test))  # type: ignore[attr-defined]
        case ast.Expr() | ast.AugAssign():
            yield lambda copied: ast.Pass()
        case ast.Continue():
            yield lambda copied: ast.Break()
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield lambda copied: _set(copied, value=ast.Constant(value=None))
        case _:
            return


def _swap_comparison(copied: ast.AST) -> ast.AST:
    assert isinstance(copied, ast.Compare)
    copied.ops[0] = COMPARISONS[type(copied.ops[0])]()
    return copied


def _set(node: ast.AST, **fields: object) -> ast.AST:
    for name, value in fields.items():
        setattr(node, name, value)
    return ast.fix_missing_locations(node)
