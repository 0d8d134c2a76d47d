"""What the classes of a file say that is read and not imported: contract, name, literals, docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pcbench.catalogue.kinds import CONTRACTS
from pcbench.catalogue.neighbours import (
    UNREADABLE,
    Import,
    Neighbourhood,
    Sources,
    absolute_imports,
    module_files,
)

PCBENCH = Path(__file__).resolve().parents[1]

MODULE = "Module"
"""What torch calls the class of all modules."""
COMPUTED = object()
"""Stands for a default that only running the code would tell."""


@dataclass(frozen=True)
class ClassSource:
    """A class of a parsed file."""

    sources: Sources
    """Where the files are parsed."""
    path: Path
    """The file."""
    node: ast.ClassDef
    """The class in its syntax tree."""

    def contract(self) -> str | None:
        """The contract that it derives from, by name or through a class of this or a nearby file.

        A plain torch module that has a name is a backbone.
        """
        for ancestor in self._ancestors(through_pcbench=False):
            for base in ancestor.node.bases:
                name = ancestor._contract_named(base)
                if name in CONTRACTS.values():
                    return name
                if name == MODULE and self.name() is not None:
                    return CONTRACTS["backbone"]
        return None

    def name(self) -> str | None:
        """The text that its body assigns to `name`, if it does so literally."""
        for value in self._assigned("name"):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
        return None

    def literal(self, attribute: str) -> object:
        """The value of a class attribute that it, or what it derives from, writes out as a literal.

        LookupError where nothing assigns it, or where only running the code would tell.
        """
        for ancestor in self._ancestors(through_pcbench=True):
            times = ancestor._times_bound(attribute)
            values = ancestor._assigned(attribute)
            if times == 0:
                continue
            if times > 1 or len(values) != 1:
                break
            try:
                return ast.literal_eval(values[0])
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                break
        raise LookupError(f"{self.path}: class {self.node.name} has no literal {attribute}")

    def parameters(self) -> dict[str, object] | None:
        """The parameters of a method by name with their defaults, as its source writes them out.

        A default that is no literal is COMPUTED. None where its source does not tell which it has.
        """
        for ancestor in self._ancestors(through_pcbench=False):
            if ancestor._times_bound("Params"):
                params = ancestor._params()
                return None if params is None else params._fields()
        return {}

    def _inner(self, name: str) -> list[ast.ClassDef]:
        """The classes of that name that stand in its body."""
        return [line for line in self.node.body if isinstance(line, ast.ClassDef) and line.name == name]

    def _params(self) -> ClassSource | None:
        """The class of its parameters, defined in its body or named there; None where neither is plain."""
        inner, values = self._inner("Params"), self._assigned("Params")
        if self._times_bound("Params") != 1:
            return None
        if inner:
            return ClassSource(self.sources, self.path, inner[0])
        return self._class_of(values[0], through_pcbench=False) if values else None

    def _fields(self) -> dict[str, object] | None:
        """The annotated fields of this class and of those that it derives from; None where one is unknown."""
        fields: dict[str, object] = {}
        for ancestor in self._ancestors(through_pcbench=False):
            for base in ancestor.node.bases:
                known = ancestor._class_of(base, through_pcbench=False) is not None
                if not known and ancestor._contract_named(base) != "MethodParams":
                    return None
            for line in ancestor.node.body:
                field = isinstance(line, ast.AnnAssign) and "ClassVar" not in ast.dump(line.annotation)
                if field and isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    fields.setdefault(line.target.id, _default(line.value))
        return fields

    def binds(self, attribute: str) -> bool:
        """Whether its own body gives the name a value, in whatever way."""
        return self._times_bound(attribute) > 0

    def summary(self) -> str:
        """The first line of its own docstring; empty where it has none."""
        return first_line(ast.get_docstring(self.node))

    def docstring(self) -> str:
        """Its docstring, or that of the first local class it derives from that has one, not indented."""
        texts = (ast.get_docstring(each.node) for each in self._ancestors(through_pcbench=False))
        return next((text for text in texts if text), "")

    def _ancestors(self, through_pcbench: bool) -> Iterator[ClassSource]:
        """The class itself and those it derives from, depth first, as far as their files are known."""
        waiting, seen = [self], set()
        while waiting:
            found = waiting.pop(0)
            if (found.path, found.node.name) not in seen:
                seen.add((found.path, found.node.name))
                yield found
                bases = (found._class_of(base, through_pcbench) for base in found.node.bases)
                waiting = [base for base in bases if base is not None] + waiting

    def _class_of(self, base: ast.expr, through_pcbench: bool) -> ClassSource | None:
        """The class that a base names, where it stands in this file or in one that this file imports."""
        base = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(base, ast.Attribute) and base.attr == "Params":
            try:
                owner = self._class_of(base.value, through_pcbench)
                return None if owner is None else owner._params()
            except RecursionError:  # names that name each other
                return None
        if not isinstance(base, ast.Name):
            return None
        here = classes(self.sources, self.path).get(base.id)
        if here is not None:
            return here
        statement, name = self._imported(base.id)
        if statement is None:
            return None
        files = Neighbourhood(self.sources, self.path.parent).targets(statement, self.path)
        if not files and through_pcbench and (statement.module or "").partition(".")[0] == "pcbench":
            files = module_files(PCBENCH.parent, str(statement.module).split("."))
        try:
            return classes(self.sources, files[-1]).get(name) if files else None
        except UNREADABLE:
            return None

    def _contract_named(self, base: ast.expr) -> str | None:
        base = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(base, ast.Attribute):
            return base.attr
        if not isinstance(base, ast.Name) or self._class_of(base, through_pcbench=False) is not None:
            return None
        return self._imported(base.id)[1]

    def _imported(self, name: str) -> tuple[ast.ImportFrom | None, str]:
        """The statement that imports a name into its file, if one does, and what it is called there."""
        for node in self.sources.tree(self.path).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return node, alias.name
        return None, name

    def _assigned(self, attribute: str) -> list[ast.expr]:
        """What the lines `attribute = …` and `attribute: … = …` of its body assign."""
        values = []
        for line in self.node.body:
            targets = line.targets if isinstance(line, ast.Assign) else []
            if isinstance(line, ast.AnnAssign):
                targets = [line.target]
            value = getattr(line, "value", None)
            named = any(isinstance(target, ast.Name) and target.id == attribute for target in targets)
            if named and isinstance(value, ast.expr):
                values.append(value)
        return values

    def _times_bound(self, attribute: str) -> int:
        """How often its body gives the name a value, in whatever way; a bare annotation does not."""
        return sum(name == attribute for line in self.node.body for name in _bound(line))


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement of a class's body binds there: not those within functions and classes.

    What Python evaluates in the class itself counts: decorators, defaults of parameters, bases.
    """
    evaluated: Iterable[ast.AST | None] = ast.iter_child_nodes(node)
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name
            evaluated = (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults)
        case ast.ClassDef():
            yield node.name
            evaluated = (*node.decorator_list, *node.bases, *node.keywords)
        case ast.Lambda():
            evaluated = (*node.args.defaults, *node.args.kw_defaults)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp() | ast.AnnAssign(value=None):
            evaluated = ()
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.alias():
            yield (node.asname or node.name).partition(".")[0]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
    for child in evaluated:
        if child is not None:
            yield from _bound(child)


def _default(value: ast.expr | None) -> object:
    """The default that a field is given, by itself or within `param` or `Field`; else COMPUTED."""
    if (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in ("param", "Field")
    ):
        named = [word.value for word in value.keywords if word.arg == "default"]
        value = next(iter([*value.args[:1], *named]), None)
    if value is None:
        return COMPUTED
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return COMPUTED
    return list(literal) if isinstance(literal, tuple) else literal


def first_line(docstring: str | None) -> str:
    """What a docstring says first; empty where there is none."""
    return docstring.strip().partition("\n")[0].strip() if docstring else ""


def classes(sources: Sources, path: Path) -> dict[str, ClassSource]:
    """The classes at the top of a file, by name; raises what parsing it raises."""
    nodes = (node for node in sources.tree(path).body if isinstance(node, ast.ClassDef))
    return {node.name: ClassSource(sources, path, node) for node in nodes}


def hopeless_import(path: Path, own: Neighbourhood) -> tuple[BaseException, Path] | str | None:
    """Why the first hopeless import at the top of a plugin's file, or of a local one it needs, fails.

    An exception with its file where a local file cannot be read, else one line; None where all may work.
    """
    for file in (path, *own.reached(path)):
        try:
            body = own.sources.tree(file).body
        except UNREADABLE as error:
            return error, file
        for statement in (node for node in body if isinstance(node, Import)):
            for module, _ in absolute_imports(statement):
                top = module.partition(".")[0]
                if not own.sources.installed(top):
                    return f"ModuleNotFoundError: No module named {top!r} ({file}:{statement.lineno})"
    return None
