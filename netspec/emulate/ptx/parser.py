"""Parser of PTX text (PTX ISA, chapters 4 to 7): kernels, parameters, variables, registers and instructions.

Syntax only: whether an instruction is implemented is decided by netspec.emulate.instructions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from netspec.emulate.fault import Fault
from netspec.emulate.ptx.operands import VARIABLE, Address, Immediate, Operand, Symbol, parse_operands, renamed
from netspec.emulate.ptx.syntax_tree import SIZES, Body, Function, Instruction, Parameter, Source, Variable

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_LINE_DIRECTIVE = re.compile(r"^[ \t]*\.(?:loc|file)\b[^\n]*", re.MULTILINE)
_TOKEN = re.compile(r"[{};]|[^{};]+")
_LABEL = re.compile(r"\s*([A-Za-z_$%][\w$]*)\s*:(?!:)")
_VARIABLE = re.compile(
    r"(?:\.align\s+(?P<align>\d+)\s+)?(?:\.v(?P<vector>\d)\s+)?\.(?P<type>\w+)\s+(?P<name>[\w$%]+)"
    r"(?P<count>(?:\[\d*\])*)\s*(?:=\s*(?P<value>.*))?$",
    re.DOTALL,
)
_GUARD = re.compile(r"@(!?)\s*([\w$%]+)\s+")
_LINKING = re.compile(r"^\s*(?:\.(?:visible|extern|weak|common)\s+)+")
_PARAMETER = re.compile(r"\.param\s+(?P<rest>.*)", re.DOTALL)


def parse(text: str) -> Source:
    """Parse a module. Raises Fault where its syntax is not supported."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        blank = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
        self.text = _LINE_DIRECTIVE.sub("", blank)
        self.line = 1
        self.source = Source()

    def tokens(self) -> Iterator[str]:
        """Text between braces and semicolons, and these; ``line`` is that of the token's first word."""
        line = 1
        for match in _TOKEN.finditer(self.text):
            token = match[0]
            stripped = token.strip()
            if stripped:
                self.line = line + token.count("\n", 0, token.index(stripped[0])) if "\n" in token else line
                yield stripped
            line += token.count("\n")

    def parse(self) -> Source:
        tokens = self.tokens()
        pending = ""
        for token in tokens:
            if token == "{" and re.search(r"\.entry\b", pending):
                self._kernel(pending, tokens)
                pending = ""
            elif token == "{" and re.search(r"\.func\b", pending):
                self._function(pending, tokens)
                pending = ""
            elif token == "{":  # the value of a variable
                pending += self._braces(tokens)
            elif token == "}":
                raise Fault(f"a closing brace too many, at line {self.line} of the PTX")
            elif token == ";":
                self._module_variable(pending)
                pending = ""
            else:
                pending += self._header(token)
        return self.source

    def _braces(self, tokens: Iterator[str]) -> str:
        inside = []
        for token in tokens:
            if token == "}":
                break
            inside.append(token)
        return "{" + " ".join(inside) + "}"

    def _header(self, token: str) -> str:
        """Takes the directives that end with their line off the front of a token."""
        for match in re.finditer(r"\.(version|target|address_size)\s+([^\n]*)", token):
            if match[1] == "target":
                self.source.target = match[2].strip()
        return re.sub(r"\.(version|target|address_size)\s+[^\n]*", "", token).strip()

    def _module_variable(self, text: str) -> None:
        text = text.strip()
        words = _LINKING.sub("", text)
        if not text or text.startswith(".pragma") or words.startswith(".func"):  # a function's body comes later
            return
        space, _, rest = words.partition(" ")
        if space == ".shared" and ".extern" in text[: len(text) - len(words)]:
            variable = self._variable(rest, 16)
            self.source.shared.append(variable)
            self.source.dynamic.add(variable.name)
        elif space == ".shared":
            self.source.shared.append(self._variable(rest))
        elif space in (".global", ".const"):
            self.source.globals.append(self._variable(rest))
        else:
            raise Fault(f"not known here, at line {self.line} of the PTX: {text.splitlines()[0]}")

    def _variable(self, text: str, alignment: int = 1) -> Variable:
        found = _VARIABLE.match(text.strip())
        if found is None or found["type"] not in SIZES:
            raise Fault(f"not a variable, at line {self.line} of the PTX: {text}")
        size = SIZES[found["type"]] * int(found["vector"] or 1)
        count = 1
        for number in re.findall(r"\[(\d*)\]", found["count"]):
            count *= int(number or 0)
        value = _initial(found["value"], found["type"], size * count) if found["value"] else None
        return Variable(found["name"], size * count, max(int(found["align"] or size), alignment), value)

    def _kernel(self, header: str, tokens: Iterator[str]) -> None:
        found = re.search(r"\.entry\s+([\w$%]+)\s*(?:\((.*?)\))?\s*(.*)$", header, re.DOTALL)
        if found is None:
            raise Fault(f"not a kernel, at line {self.line} of the PTX: {header.splitlines()[0]}")
        body = Body(found[1], tuple(self._parameters(found[2] or "")))
        for word, numbers in re.findall(r"\.(\w+)\s+([\d ,]+)", found[3]):
            body.limits[word] = tuple(map(int, numbers.split(",")))
        _Statements(self, body, tokens).read()
        self.source.kernels[body.name] = body

    def _function(self, header: str, tokens: Iterator[str]) -> None:
        found = re.search(r"\.func\s*(?:\((.*?)\))?\s*([\w$%]+)\s*(?:\((.*?)\))?", header, re.DOTALL)
        if found is None:
            raise Fault(f"not a function, at line {self.line} of the PTX: {header.splitlines()[0]}")
        given = [*self._formals(found[1] or ""), *self._formals(found[3] or "")]
        body = Body(found[2], (), local=[*given])
        _Statements(self, body, tokens).read()
        self.source.functions[body.name] = Function(body, tuple(one.name for one in given))

    def _formals(self, text: str) -> Iterator[Variable]:
        for part in filter(None, map(str.strip, text.split(","))):
            found = _PARAMETER.match(part)
            if found is None:
                raise Fault(f"not a parameter of a function, at line {self.line} of the PTX: {part}")
            yield self._variable(found["rest"])

    def _parameters(self, text: str) -> Iterator[Parameter]:
        offset = 0
        for part in filter(None, map(str.strip, text.split(","))):
            found = _PARAMETER.match(part)
            if found is None:
                raise Fault(f"not a parameter, at line {self.line} of the PTX: {part}")
            # .ptr says what the address in the parameter points to: nothing that decides its bytes
            rest = re.sub(r"\.ptr\b(\s*\.(global|shared|const|local))?(\s*\.align\s+\d+)?", "", found["rest"])
            variable = self._variable(rest)
            offset = -(-offset // variable.alignment) * variable.alignment
            yield Parameter(variable.name, variable.nbytes, variable.alignment, offset)
            offset += variable.nbytes


class _Statements:
    """Parses a kernel's body; registers of an inner scope are renamed, so that names are unique."""

    def __init__(self, parser: _Parser, body: Body, tokens: Iterator[str]) -> None:
        self.parser, self.body, self.tokens = parser, body, tokens
        self.scopes: list[dict[str, str]] = [{}]
        self.starts = [0]
        self.opened = 0

    def read(self) -> None:
        text, line = "", 0
        for token in self.tokens:
            if token == ";":
                self._statement(text, line)
                text = ""
            elif token == "{" and text and not text.rstrip().endswith(":"):
                text += f" {self.parser._braces(self.tokens)} "
            elif token == "{":
                self._label(text)
                text = ""
                self._open()
            elif token == "}":
                self._label(text)
                text = ""
                self._close()
                if not self.scopes:
                    return
            else:
                line = line if text else self.parser.line
                text += token
        raise Fault(f"{self.body.name} has no closing brace")

    def _open(self) -> None:
        self.opened += 1
        self.scopes.append({})
        self.starts.append(len(self.body.instructions))

    def _close(self) -> None:
        """Resolve this scope's branches to its own labels."""
        names, start = self.scopes.pop(), self.starts.pop()
        for place, one in enumerate(self.body.instructions[start:], start):
            target = one.operands[0] if one.name == "bra" else None
            if isinstance(target, Symbol) and target.name in names:
                self.body.instructions[place] = replace(one, operands=(Symbol(names[target.name]),))

    def _label(self, text: str) -> None:
        rest = self._labels(text)
        if rest:
            raise Fault(f"not a statement, before line {self.parser.line} of the PTX: {rest}")

    def _labels(self, text: str) -> str:
        while ":" in text and (match := _LABEL.match(text)):
            self.body.labels[self._own(match[1], declare=True)] = len(self.body.instructions)
            text = text[match.end() :]
        return text.strip()

    def _own(self, name: str, declare: bool = False) -> str:
        """The unique name: that of the innermost scope which declares it."""
        if declare and (len(self.scopes) > 1 or not name.startswith(("%", "$"))):
            self.scopes[-1][name] = f"{name}@{self.opened}"
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return name

    def _statement(self, text: str, line: int) -> None:
        text = self._labels(text)
        if text[:1] not in ("", "."):
            self.body.instructions.append(self._instruction(" ".join(text.split()), line))
        elif text.startswith(".reg"):
            self._registers(text)
        elif text.startswith(".shared"):
            self.body.shared.append(self.parser._variable(text.removeprefix(".shared")))
        elif text.startswith(".local"):
            self.body.local.append(self.parser._variable(text.removeprefix(".local")))
        elif text.startswith(".param"):
            variable = self.parser._variable(text.removeprefix(".param"))
            self.scopes[-1][variable.name] = f"{variable.name}{VARIABLE}{self.opened}"
            self.body.local.append(replace(variable, name=self.scopes[-1][variable.name]))
        elif text and not text.startswith(".pragma"):
            raise Fault(f"not known here, at line {line} of the PTX: {text}")

    def _registers(self, text: str) -> None:
        found = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", text, re.DOTALL)
        if found is None or found[1] not in SIZES:
            raise Fault(f"not a declaration of registers, at line {self.parser.line} of the PTX: {text}")
        for word in map(str.strip, found[2].split(",")):
            count = re.fullmatch(r"(.*?)<(\d+)>", word)
            names = [f"{count[1]}{number}" for number in range(int(count[2]))] if count else [word]
            for name in names:
                self.body.registers[self._own(name, declare=True)] = found[1]

    def _instruction(self, text: str, line: int) -> Instruction:
        guard, rest = None, text
        if text[0] == "@" and (found := _GUARD.match(text)):
            guard, rest = (self._own(found[2]), not found[1]), text[found.end() :]
        opcode, _, operands = rest.partition(" ")
        name, *modifiers = opcode.split(".")
        try:
            parsed = parse_operands(operands)
        except ValueError as error:
            raise Fault(f"{error}, at line {line} of the PTX: {text}") from error
        if name != "bra" and any(self.scopes):
            parsed = tuple([renamed(one, self._own) for one in parsed])
        if "param" in modifiers and any(self._is_local(one) for one in parsed):
            modifiers = ["local" if word == "param" else word for word in modifiers]
        return Instruction(name, tuple(modifiers), parsed, guard, line, text)

    def _is_local(self, operand: Operand) -> bool:
        """Whether it is a place in a variable of ``.param`` that is no kernel's parameter."""
        base = operand.base if isinstance(operand, Address) else None
        return isinstance(base, Symbol) and any(one.name == base.name for one in self.body.local)


def _initial(text: str, kind: str, nbytes: int) -> bytes:
    parts = parse_operands(text.strip().removeprefix("{").removesuffix("}"))
    size = SIZES[kind]
    value = b""
    for part in parts:
        if not isinstance(part, Immediate):
            raise Fault(f"a variable's first value is not a number: {text}")
        value += part.bits(kind).to_bytes(size, "little")
    return value.ljust(nbytes, b"\0")
