"""MathML, and the formulas of office documents (OMML), as LaTeX.

Knows elements, not where they come from. What it does not know becomes its content, one after the other, so
no symbol is lost.
"""

from __future__ import annotations

import html
import re
from typing import Any

from boostqa.readers.files import UnreadableError

_SYMBOLS = {
    "×": r"\times", "÷": r"\div", "·": r"\cdot", "⋅": r"\cdot", "±": r"\pm", "∓": r"\mp", "≤": r"\le",
    "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "≡": r"\equiv", "∼": r"\sim", "∝": r"\propto", "∞": r"\infty",
    "→": r"\to", "←": r"\leftarrow", "↔": r"\leftrightarrow", "⇒": r"\Rightarrow", "⇔": r"\Leftrightarrow",
    "∈": r"\in", "∉": r"\notin", "⊂": r"\subset", "⊆": r"\subseteq", "∪": r"\cup", "∩": r"\cap",
    "∅": r"\emptyset", "∀": r"\forall", "∃": r"\exists", "¬": r"\neg", "∧": r"\wedge", "∨": r"\vee",
    "∂": r"\partial", "∇": r"\nabla", "∑": r"\sum", "∏": r"\prod", "∫": r"\int", "∮": r"\oint", "√": r"\surd",
    "…": r"\dots", "⋯": r"\cdots", "°": r"^\circ", "′": "'", "−": "-", "∣": "|", "‖": r"\|", "⟨": r"\langle",
    "⟩": r"\rangle", "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon",
    "ϵ": r"\epsilon", "ζ": r"\zeta", "η": r"\eta", "θ": r"\theta", "κ": r"\kappa", "λ": r"\lambda",
    "μ": r"\mu", "ν": r"\nu", "ξ": r"\xi", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma", "τ": r"\tau",
    "φ": r"\varphi", "ϕ": r"\phi", "χ": r"\chi", "ψ": r"\psi", "ω": r"\omega", "Γ": r"\Gamma",
    "Δ": r"\Delta", "Θ": r"\Theta", "Λ": r"\Lambda", "Π": r"\Pi", "Σ": r"\Sigma", "Φ": r"\Phi",
    "Ψ": r"\Psi", "Ω": r"\Omega", "ℏ": r"\hbar", "{": r"\{", "}": r"\}", "%": r"\%", "#": r"\#", "&": r"\&",
    "\u2061": "", "\u2062": "", "\u2063": "", "\u2064": "", "\u00a0": " ", "\u2009": " ",
}  # fmt: skip
_FUNCTIONS = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln",
    "exp", "lim", "max", "min", "det",
))  # fmt: skip
_ACCENTS = {"¯": "bar", "‾": "bar", "_": "underline", "^": "hat", "ˆ": "hat", "\u0302": "hat",
            "~": "tilde", "˜": "tilde",
            "→": "vec", "\u20d7": "vec", "˙": "dot", "\u0307": "dot", "¨": "ddot", "\u0304": "bar",
            "\u0305": "bar"}  # fmt: skip
_TAG = re.compile(r"(</?)[\w.-]+:")
_ATTRIBUTE = re.compile(r"\s[\w.-]+:[\w.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_ENTITY = re.compile(r"&(?!(?:lt|gt|amp|quot|apos|#\d+|#x[\da-fA-F]+);)(\w+);?")
_ANY_TAG = re.compile(r"<[^>]*>")
_DEPTH = 60


def latex_of_markup(markup: str) -> str:
    """LaTeX of a `<math>` element as it stands in a page, without dollars; its bare text if it is no XML."""
    from boostqa.readers.epub import parse_xml

    clean = _ATTRIBUTE.sub("", _TAG.sub(r"\1", markup))
    clean = _ENTITY.sub(lambda match: html.escape(html.unescape(match[0])), clean)
    try:
        return latex(parse_xml(clean.encode()))
    except UnreadableError:
        return " ".join(html.unescape(_ANY_TAG.sub(" ", markup)).split())


def latex(node: Any, depth: int = 0) -> str:
    """LaTeX of an element tree of MathML or OMML, on one line; deeper than 60 levels only its text."""
    if depth > _DEPTH:
        return _symbols("".join(node.itertext()))
    name = _name(node)
    parts = [child for child in node if isinstance(child.tag, str)]
    if name == "semantics":
        tex = next((part for part in parts if part.get("encoding", "").endswith("tex")), None)
        return (tex.text or "").strip() if tex is not None else latex(parts[0], depth + 1) if parts else ""
    if name in ("mi", "mn", "mo", "mtext", "ms", "t"):
        return _leaf(name, "".join(node.itertext()))
    make = _MATHML.get(name) or _OMML.get(name)
    if make is not None:
        return str(make(node, parts, lambda part: latex(part, depth + 1)))
    if name.endswith("Pr") or name in ("annotation", "annotation-xml", "maligngroup", "malignmark"):
        return ""
    return _joined([latex(part, depth + 1) for part in parts])


def _name(node: Any) -> str:
    return str(node.tag).rpartition("}")[2]


def _joined(parts: list[str]) -> str:
    text = ""
    for part in parts:
        # A command and a letter behind it must not become one word.
        gap = " " if re.search(r"\\[a-zA-Z]+$", text) and re.match("[a-zA-Z]", part) else ""
        text += gap + part
    return text


def _symbols(text: str) -> str:
    return _joined([_SYMBOLS.get(char, char) for char in text])


def _leaf(name: str, text: str) -> str:
    text = " ".join(text.split()) if name != "mtext" else text
    if name in ("mtext", "ms"):
        return rf"\text{{{text}}}" if text.strip() else " "
    if name == "mi" and text in _FUNCTIONS:
        return "\\" + text + " "
    if name == "mi" and len(text) > 1 and text.isalpha() and text.isascii():
        return rf"\mathrm{{{text}}}"
    return _symbols(text)


def _pair(shape: str) -> Any:
    """A maker of `shape` with the element's first, second, third part for {0}, {1}, {2}."""

    def make(node: Any, parts: list[Any], tex: Any) -> str:
        found = [tex(part) for part in parts] + ["", "", ""]
        base = (
            found[0]
            if len(found[0]) == 1 or re.fullmatch(r"\\[a-zA-Z]+|\\text\{.*\}|\(.*\)", found[0])
            else f"{{{found[0]}}}"
        )
        return shape.format(base, found[1], found[2], *found[:3])

    return make


def _over(node: Any, parts: list[Any], tex: Any) -> str:
    base, mark = (tex(parts[0]), "".join(parts[1].itertext()).strip()) if len(parts) > 1 else ("", "")
    if mark in _ACCENTS:
        return rf"\{_ACCENTS[mark]}{{{base}}}"
    return (
        rf"{base}^{{{tex(parts[1])}}}"
        if len(parts) > 1 and base.startswith("\\")
        else (rf"\overset{{{tex(parts[1])}}}{{{base}}}" if len(parts) > 1 else base)
    )


def _under(node: Any, parts: list[Any], tex: Any) -> str:
    if len(parts) < 2:
        return ""
    base = tex(parts[0])
    return (
        f"{base.rstrip()}_{{{tex(parts[1])}}}"
        if base.startswith("\\")
        else rf"\underset{{{tex(parts[1])}}}{{{base}}}"
    )


def _fenced(node: Any, parts: list[Any], tex: Any) -> str:
    inner = (node.get("separators") or ",")[:1].join(tex(part) for part in parts)
    return f"{_symbols(node.get('open', '('))}{inner}{_symbols(node.get('close', ')'))}"


def _table(node: Any, parts: list[Any], tex: Any) -> str:
    rows = [
        " & ".join(tex(cell) for cell in row) for row in parts if _name(row) in ("mtr", "mlabeledtr", "mr")
    ]
    return r"\begin{matrix}" + r" \\ ".join(rows) + r"\end{matrix}"


def _child(node: Any, name: str, tex: Any) -> str:
    return next((tex(part) for part in node if _name(part) == name), "")


def _setting(node: Any, group: str, name: str, default: str) -> str:
    for part in node:
        if _name(part) == group:
            for one in part:
                if _name(one) == name:
                    return next(iter(one.attrib.values()), "")
    return default


def _omml(shape: str, *names: str) -> Any:
    return lambda node, parts, tex: shape.format(*(_child(node, name, tex) for name in names))


def _nary(node: Any, parts: list[Any], tex: Any) -> str:
    sign = _symbols(_setting(node, "naryPr", "chr", "∫"))
    below, above = _child(node, "sub", tex), _child(node, "sup", tex)
    bounds = (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")
    return f"{sign}{bounds} {_child(node, 'e', tex)}"


def _delimited(node: Any, parts: list[Any], tex: Any) -> str:
    begin, end = _setting(node, "dPr", "begChr", "("), _setting(node, "dPr", "endChr", ")")
    inner = _setting(node, "dPr", "sepChr", "|").join(tex(part) for part in parts if _name(part) == "e")
    return f"{_symbols(begin)}{inner}{_symbols(end)}"


def _radical(node: Any, parts: list[Any], tex: Any) -> str:
    degree = _child(node, "deg", tex)
    return rf"\sqrt{f'[{degree}]' if degree else ''}{{{_child(node, 'e', tex)}}}"


def _accent(node: Any, parts: list[Any], tex: Any) -> str:
    mark = _setting(node, "accPr", "chr", "ˆ")
    return rf"\{_ACCENTS.get(mark, 'hat')}{{{_child(node, 'e', tex)}}}"


_MATHML = {
    "mfrac": _pair(r"\frac{{{3}}}{{{4}}}"),
    "msup": _pair("{0}^{{{1}}}"),
    "msub": _pair("{0}_{{{1}}}"),
    "msubsup": _pair("{0}_{{{1}}}^{{{2}}}"),
    "munderover": _pair("{0}_{{{1}}}^{{{2}}}"),
    "mroot": _pair(r"\sqrt[{4}]{{{3}}}"),
    "mover": _over,
    "munder": _under,
    "msqrt": lambda node, parts, tex: rf"\sqrt{{{_joined([tex(part) for part in parts])}}}",
    "mfenced": _fenced,
    "mtable": _table,
    "mspace": lambda node, parts, tex: " ",
    "mphantom": lambda node, parts, tex: "",
}
_OMML = {
    "f": _omml(r"\frac{{{}}}{{{}}}", "num", "den"),
    "sSup": _omml("{{{}}}^{{{}}}", "e", "sup"),
    "sSub": _omml("{{{}}}_{{{}}}", "e", "sub"),
    "sSubSup": _omml("{{{}}}_{{{}}}^{{{}}}", "e", "sub", "sup"),
    "sPre": _omml("{{}}_{{{}}}^{{{}}}{}", "sub", "sup", "e"),
    "limLow": _omml("{}_{{{}}}", "e", "lim"),
    "limUpp": _omml("{}^{{{}}}", "e", "lim"),
    "func": _omml("{} {}", "fName", "e"),
    "bar": _omml(r"\bar{{{}}}", "e"),
    "rad": _radical,
    "nary": _nary,
    "d": _delimited,
    "acc": _accent,
    "m": _table,
    "r": lambda node, parts, tex: _run(node),
}


def _run(node: Any) -> str:
    text = "".join(part.text or "" for part in node if _name(part) == "t")
    return "\\" + text + " " if text in _FUNCTIONS else _symbols(text)
